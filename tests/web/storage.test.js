import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { SafeStorage } from "../../whisperlivekit/web/storage.js";
import { MapStorage } from "./map-storage.js";

describe("SafeStorage", () => {
  it("keeps values under names of its own", () => {
    const map = new MapStorage();
    const storage = new SafeStorage(() => map);
    assert.equal(storage.get("page"), null);
    storage.set("page", "en");
    assert.equal(storage.get("page"), "en");
    assert.equal(map.getItem("speech.page"), "en");
    storage.remove("page");
    assert.deepEqual([storage.get("page"), map.size], [null, 0]);
  });

  it("keeps values until the page is closed where a browser forbids the storage", () => {
    const storage = new SafeStorage(() => {
      throw new DOMException("", "SecurityError");
    });
    assert.equal(storage.get("page"), null);
    storage.set("page", "en");
    assert.equal(storage.get("page"), "en");
    storage.remove("page");
    assert.equal(storage.get("page"), null);
  });

  it("prefers a new value that a full storage did not take to the old one", () => {
    const map = new MapStorage();
    const storage = new SafeStorage(() => map);
    storage.set("page", "en");
    map.setItem = () => {
      throw new DOMException("", "QuotaExceededError");
    };
    storage.set("page", "ru");
    assert.equal(storage.get("page"), "ru");
  });
});
