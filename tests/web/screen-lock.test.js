import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ScreenLock } from "../../whisperlivekit/web/screen-lock.js";

/** Locks that the test grants, with a count of those that are held. */
function source() {
  const waiting = [];
  const held = new Set();
  const request = () =>
    new Promise((resolve, reject) => {
      waiting.push({
        grant: () => {
          const sentinel = { release: async () => void held.delete(sentinel) };
          held.add(sentinel);
          resolve(sentinel);
        },
        refuse: () => reject(new DOMException("", "NotAllowedError")),
      });
    });
  return { request, waiting, held };
}

describe("ScreenLock", () => {
  it("holds one lock until it is released", async () => {
    const { request, waiting, held } = source();
    const lock = new ScreenLock({ request });
    for (let turn = 0; turn < 2; turn += 1) {
      const acquired = lock.acquire();
      waiting.shift().grant();
      await acquired;
      assert.equal(held.size, 1);
    }
    await lock.release();
    assert.equal(held.size, 0);
  });

  it("holds none if the recording ended before the browser granted it", async () => {
    const { request, waiting, held } = source();
    const lock = new ScreenLock({ request });
    const acquired = lock.acquire();
    await lock.release();
    waiting.shift().grant();
    await acquired;
    assert.equal(held.size, 0);
  });

  it("does without a lock where the browser has none or refuses", async () => {
    await new ScreenLock(undefined).acquire();
    const { request, waiting, held } = source();
    const lock = new ScreenLock({ request });
    const acquired = lock.acquire();
    waiting.shift().refuse();
    await acquired;
    await lock.release();
    assert.equal(held.size, 0);
  });
});
