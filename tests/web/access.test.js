import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { KeyStore, authorization, isKey, keyFromHash, keyProblem, subprotocols, takeKey } from "../../whisperlivekit/web/access.js";
import { SafeStorage } from "../../whisperlivekit/web/storage.js";
import { MapStorage } from "./map-storage.js";

const KEY = "0123456789abcdef";

function stores() {
  const [tab, device] = [new MapStorage(), new MapStorage()];
  return { tab, device, keys: new KeyStore({ tab: new SafeStorage(() => tab), device: new SafeStorage(() => device) }) };
}

describe("a key", () => {
  it("is kept in the tab, and on the device only if the user wants that", () => {
    const { tab, device, keys } = stores();
    assert.equal(keys.key, null);
    keys.keep(KEY, false);
    assert.deepEqual([keys.key, keys.remembered, tab.size, device.size], [KEY, false, 1, 0]);
    keys.keep("another key 1234", true);
    assert.deepEqual([keys.key, keys.remembered, tab.size, device.size], ["another key 1234", true, 0, 1]);
  });

  it("that is deleted is nowhere any more", () => {
    for (const remember of [false, true]) {
      const { tab, device, keys } = stores();
      keys.keep(KEY, remember);
      keys.forget();
      assert.deepEqual([keys.key, keys.remembered, tab.size, device.size], [null, false, 0, 0]);
    }
  });

  it("has printable ASCII characters without spaces only: a header carries no others", () => {
    for (const key of [KEY, "a/b+c=~!%(),;"]) assert.equal(isKey(key), true, key);
    for (const key of ["", "a b", "ключ-ключ-ключ-1", "a\n"]) assert.equal(isKey(key), false, key);
  });
});

describe("a link", () => {
  for (const [hash, key] of [
    [`#key=${KEY}`, KEY],
    [`#x=1&key=${KEY}&y=2`, KEY],
    ["#key=a%2Fb%2Bc%3D", "a/b+c="],
    ["#key=a/b+c=", "a/b+c="],
    ["#key=100%", "100%"],
    ["#key=", null],
    ["#key=%D0%BA%D0%BB%D1%8E%D1%87", null],
    ["#monkey=1", null],
    ["#scroller", null],
    ["", null],
  ]) {
    it(`${hash === "" ? "without a fragment" : hash} ${key === null ? "has no key" : `has the key ${key}`}`, () => {
      assert.equal(keyFromHash(hash), key);
    });
  }

  it("loses its key once the key is taken, so that the address bar does not show it", () => {
    const { keys } = stores();
    const replaced = [];
    const location = { hash: `#key=${KEY}`, pathname: "/speech/", search: "?x=1" };
    assert.equal(takeKey(keys, location, { replaceState: (...args) => replaced.push(args[2]) }), true);
    assert.deepEqual([keys.key, keys.remembered, replaced], [KEY, false, ["/speech/?x=1"]]);
  });

  it("without a key leaves key and address alone", () => {
    const { keys } = stores();
    keys.keep(KEY, true);
    assert.equal(takeKey(keys, { hash: "#scroller", pathname: "/", search: "" }, { replaceState: () => assert.fail() }), false);
    assert.equal(keys.key, KEY);
  });

  it("replaces a remembered key by a remembered key", () => {
    const { keys } = stores();
    keys.keep("an older key 123", true);
    takeKey(keys, { hash: `#key=${KEY}`, pathname: "/", search: "" }, { replaceState: () => {} });
    assert.deepEqual([keys.key, keys.remembered], [KEY, true]);
  });
});

describe("a request", () => {
  it("carries the key in a header or a subprotocol", () => {
    assert.deepEqual(authorization(KEY), { Authorization: `Bearer ${KEY}` });
    assert.deepEqual(authorization(null), {});
    assert.deepEqual(subprotocols(KEY), ["token", KEY]);
    assert.deepEqual(subprotocols(null), []);
  });

  it("offers only subprotocols that a browser allows, and they stand for the key", () => {
    for (const key of ["abc/def+ghi=", "(a)[b]{c}", 'a"b\\c,d;e:f@g?h<i>', "100%/"]) {
      const [, protocol] = subprotocols(key);
      assert.match(protocol, /^[\w!#$%&'*+.^`|~-]+$/);
      assert.equal(decodeURIComponent(protocol), key);
    }
  });
});

describe("keyProblem", () => {
  const server = (status) => async () => new Response(null, { status });
  for (const [what, fetch, key, problem] of [
    ["no key is asked for", server(426), null, null],
    ["a key is missing", server(401), null, "unauthorized"],
    ["the key is wrong", server(401), KEY, "wrong_key"],
    ["the key is right", server(426), KEY, null],
    ["the server is full", server(503), KEY, null],
    ["the server is gone", async () => { throw new TypeError("failed to fetch"); }, KEY, null],
  ]) {
    it(`is ${problem} if ${what}`, async () => {
      assert.equal(await keyProblem("http://host/ws", key, fetch), problem);
    });
  }

  it("sends the key in a header, never in the address", async () => {
    const asked = [];
    await keyProblem("http://host/ws", KEY, async (url, { headers }) => {
      asked.push([url, headers]);
      return new Response(null, { status: 200 });
    });
    assert.deepEqual(asked, [["http://host/ws", { Authorization: `Bearer ${KEY}` }]]);
  });
});
