// The classes of a task, in an order that does not change under the hand, and the keys that stand for them.

const orders = new Map(); // task → names. Counts change while one labels; the key of a class must not.

/** Return the names of the classes of a task: most labels first, then those that came since. @returns {string[]} */
export function classNames(task, rows) {
  const order = orders.get(task?.name) ?? [];
  const known = new Set(order);
  const found = [...(task?.classes ?? []).map(({ name }) => name), ...(rows?.names ?? [])];
  for (const name of found) if (!known.has(name)) known.add(name) && order.push(name);
  if (task) orders.set(task.name, order);
  return order;
}

/** Return the digit of each class that has one. A class named by a digit has that digit. @returns {Map<string, string>} */
export function digits(names) {
  const own = names.filter((name) => /^\d$/.test(name));
  const free = [..."123456789"].filter((digit) => !own.includes(digit));
  const rest = names.filter((name) => !own.includes(name)).slice(0, free.length);
  return new Map([...own.map((name) => [name, name]), ...rest.map((name, i) => [name, free[i]])]);
}

const PATIENCE = 1200; // milliseconds between two letters of one name

/** Letters that are typed one after the other, and the class that they mean. */
export class Typed {
  constructor() {
    this.letters = "";
    this.tail = ""; // the rest of a name that was found before it was typed to its end
    this.at = 0;
  }

  clear() {
    this.letters = this.tail = "";
  }

  candidates(names) {
    return this.letters ? names.filter((name) => name.toLowerCase().startsWith(this.letters)) : [];
  }

  /** Take a letter. Returns {name} if only one class can be meant, {} if several can be, null if no class begins so. */
  letter(letter, names, now = Date.now()) {
    if (now - this.at > PATIENCE) this.clear();
    this.at = now;
    const small = letter.toLowerCase();
    if (this.tail.startsWith(small)) {
      this.tail = this.tail.slice(1);
      return {};
    }
    this.tail = "";
    this.letters += small;
    const found = this.candidates(names);
    if (found.length > 1) return {};
    const typed = this.letters.length;
    this.letters = "";
    if (!found.length) return null;
    this.tail = found[0].toLowerCase().slice(typed);
    return { name: found[0] };
  }
}
