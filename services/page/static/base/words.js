// What the page says, in plain words. The term behind a word is its `title`.

export const number = (count) => count.toLocaleString("en");

export const photos = (count) => (count === 1 ? "1 photo" : `${number(count)} photos`);

/** Return a share as whole percent; only exactly all is 100 %. */
export const percent = (share) => `${share < 1 ? Math.min(99, Math.round(share * 100)) : 100}\u00a0%`;
