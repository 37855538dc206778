// Colours of points: one byte a row, and a table of 256 colours that a change of theme or emphasis replaces.

/** Byte of a row without a value. */
export const NEUTRAL = 255;
const ENTRIES = 256;

// Chosen by a search for the largest smallest distance (OKLab) as seen with normal, red-, green- and blue-blind eyes,
// among colours that stand out from the ground. A test measures both.
const CLASSES = {
  light: "1f6fc4 d49b25 d6455a 20ae94 9b72ef 15803c fa7aca 913990 56acf9 1f4504 052996 5e1a52",
  dark: "5aa9f0 f4741e feabb9 87f2f8 936be6 3fae5f e86aba ab3974 046eb6 b0cd26 fae798 7c6916",
};
const AGREEMENT = { light: "86acd0 c2261c", dark: "4a7096 ff6e63" };
const GROUND = { light: "9aa1a8", dark: "6d757c" };

// The scale "viridis" (public domain, of Smith and van der Walt) in eleven steps. Each theme leaves out the end that
// cannot be seen on its ground, and turns it so that low values stand out: these are looked for.
const SCALE = "440154 482475 414487 355f8d 2a788e 21918c 22a884 44bf70 7ad151 bddf26 fde725";
const PART = { light: [0, 0.7], dark: [1, 0.35] };

/** How many classes have a colour of their own; more share colours that their names choose. */
const DISTINCT = CLASSES.light.split(" ").length;

const triple = (hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
const triples = (text) => text.split(" ").map(triple);

/** Return the colour at `share` (0 to 1) between the steps of a scale. */
function between(steps, share) {
  const at = share * (steps.length - 1);
  const low = Math.min(Math.floor(at), steps.length - 2);
  return steps[low].map((value, i) => Math.round(value + (at - low) * (steps[low + 1][i] - value)));
}

/** Return an OKLCH colour as bytes of sRGB (Ottosson, "A perceptual color space for image processing", 2020). */
function oklch(lightness, chroma, turn) {
  const a = chroma * Math.cos(2 * Math.PI * turn);
  const b = chroma * Math.sin(2 * Math.PI * turn);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  return linear.map((value) => {
    const part = Math.min(Math.max(value, 0), 1);
    return Math.round(255 * (part <= 0.0031308 ? 12.92 * part : 1.055 * part ** (1 / 2.4) - 0.055));
  });
}

const GOLDEN = 0.6180339887;
const LIGHTNESS = { light: [0.45, 0.58, 0.68], dark: [0.6, 0.72, 0.84] };

const TABLES = {
  classes: (theme) => triples(CLASSES[theme]),
  many: (theme) => Array.from({ length: NEUTRAL }, (_, i) => oklch(LIGHTNESS[theme][i % 3], 0.13, (i * GOLDEN) % 1)),
  scale: (theme) => {
    const [low, high] = PART[theme];
    return Array.from({ length: NEUTRAL }, (_, i) => between(triples(SCALE), low + ((high - low) * i) / (NEUTRAL - 1)));
  },
  agreement: (theme) => triples(AGREEMENT[theme]),
};

/**
 * Return the colours of all bytes, three bytes each. The last one is that of rows without a value.
 *
 * @param {"classes"|"many"|"scale"|"agreement"} kind
 * @param {"light"|"dark"} theme of the ground
 * @returns {Uint8Array} of length 768
 */
export function table(kind, theme) {
  const found = new Uint8Array(3 * ENTRIES);
  TABLES[kind](theme).forEach((colour, byte) => found.set(colour, 3 * byte));
  found.set(triple(GROUND[theme]), 3 * NEUTRAL);
  return found;
}

/** Return the bytes of classes by their names. A class keeps its colour when others are added or removed. */
export function bytesOf(names) {
  if (names.length <= DISTINCT) return { kind: "classes", bytes: names.map((_, code) => code) };
  return { kind: "many", bytes: names.map((name) => hash(name) % NEUTRAL) };
}

/** FNV-1a, of 32 bits. */
function hash(text) {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}

/** Return the byte of a share from 0 to 1 on the scale. */
export const byteOf = (share) => (Number.isNaN(share) ? NEUTRAL : Math.round(Math.min(Math.max(share, 0), 1) * (NEUTRAL - 1)));

/** Return a colour of a table as CSS writes it. */
export const css = (colours, byte) => `rgb(${colours.subarray(3 * byte, 3 * byte + 3).join(" ")})`;
