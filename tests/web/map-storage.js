/** The interface of the browser's storages over a Map. */
export class MapStorage {
  values = new Map();

  get size() {
    return this.values.size;
  }

  getItem(name) {
    return this.values.get(name) ?? null;
  }

  setItem(name, value) {
    this.values.set(name, value);
  }

  removeItem(name) {
    this.values.delete(name);
  }
}
