// What the daemon shows of itself, and many calls at once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withDaemon } from './support.js';

test('health', withDaemon(async ({ daemon }) => {
  for (const sandbox of [daemon.sandbox(), daemon.sandbox({ token: undefined })]) {
    const { status, timestamp } = await sandbox.health();
    assert.equal(status, 'ok');
    assert.ok(Math.abs(Date.parse(timestamp) - Date.now()) < 60_000, timestamp);
  }
}));

test('server info', withDaemon(async ({ daemon, sandbox }) => {
  const { message, data } = await sandbox.getServerInfo();
  assert.equal(typeof message, 'string');
  const { version, ...rest } = data;
  assert.match(version, /^\d+\.\d+\.\d+/);
  assert.deepEqual(
    rest, { auth_enabled: true, main_subdomain: 'localhost', sandbox_count: 1, sandbox_url: daemon.url },
  );
  assert.equal((await sandbox.getInfo()).provider, 'servisor');
}));

test('authentication status', withDaemon(async ({ daemon }) => {
  for (const token of ['wrong', undefined]) {
    const sandbox = daemon.sandbox({ token });
    assert.equal((await sandbox.auth.status()).authenticated, false);
    assert.deepEqual((await sandbox.getAuthStatus()).data, { authenticated: false });
  }
  const { authenticated, tokenType } = await daemon.sandbox().auth.status();
  assert.deepEqual([authenticated, tokenType], [true, 'access_token']);
}));

test('50 calls at once are all answered', withDaemon(async ({ sandbox }) => {
  const slugs = Array.from({ length: 5 }, (_, number) => `server-${number}`);
  await Promise.all(slugs.map((slug) => sandbox.server.start({ slug, start: 'sleep 1000' })));
  const lists = await Promise.all(Array.from({ length: 50 }, () => sandbox.server.list()));
  for (const servers of lists) assert.deepEqual(servers.map(({ slug }) => slug), slugs);
  await Promise.all(slugs.map((slug) => sandbox.server.delete(slug)));
  assert.deepEqual(await sandbox.server.list(), []);
}));
