// Files that were dropped or picked, with their place below the folder that was dropped.

const NO_FILES = /(^|\/)(\.|Thumbs\.db$|desktop\.ini$|__MACOSX\/)/i;

/**
 * Return what was dropped: files, and those in and below folders.
 *
 * @param {DataTransfer} transfer
 * @returns {Promise<{file: File, path: string}[]>}
 */
export async function dropped(transfer) {
  // The entries must be asked for before the first wait: the browser forgets them when the event is over.
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry()).filter(Boolean);
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return real(found);
}

/** Return what an `<input type="file">` has, also one for folders. */
export function picked(input) {
  return real(Array.from(input.files, (file) => ({ file, path: file.webkitRelativePath || file.name })));
}

/** Return the name of the folder that a file lies in, which may be its class; null for none. */
export function folderOf(path) {
  return path.split("/").slice(-2, -1)[0] ?? null;
}

async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100 at a time
    if (!some.length) return;
    for (const each of some) await walk(each, found);
  }
}

const real = (found) => found.filter(({ path }) => !NO_FILES.test(path));
