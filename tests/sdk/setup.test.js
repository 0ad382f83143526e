// The setup payload as the SDK encodes it, and what is there after the daemon has died.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { encodeSetupPayload } from 'computesdk';
import { until, withDaemon } from './support.js';

const payload = encodeSetupPayload({
  servers: [
    { slug: 'web', install: 'echo once >> installs', start: 'exec sleep 1000', environment: { NAME: 'Zoë – ✓' } },
    { slug: 'lazy', start: 'exec sleep 1000', autostart: false },
  ],
});

async function running(sandbox, slug) {
  return until(`${slug} runs`, async () => {
    const server = await sandbox.server.retrieve(slug);
    return server.status === 'running' && server;
  });
}

test('a payload from encodeSetupPayload, at every boot of the same sandbox', withDaemon(async ({ daemon, root }) => {
  const first = await running(daemon.sandbox(), 'web');
  assert.equal(first.environment.NAME, 'Zoë – ✓');
  assert.equal((await daemon.sandbox().server.retrieve('lazy')).status, 'stopped');
  await daemon.sandbox().server.start({ slug: 'own', start: 'exec sleep 1000' });
  daemon.process.kill('SIGKILL');
  await daemon.ended;
  await daemon.boot();
  const second = await running(daemon.sandbox(), 'web');
  await running(daemon.sandbox(), 'own');
  assert.notEqual(second.pid, first.pid);
  assert.deepEqual(daemon.descendants().map(({ pid }) => pid).filter((pid) => pid === first.pid), []);
  assert.equal(second.created_at, first.created_at);
  assert.equal(fs.readFileSync(path.join(root, 'installs'), 'utf8'), 'once\n');
  await daemon.sandbox().server.delete('own');
  assert.deepEqual((await daemon.sandbox().server.list()).map(({ slug }) => slug), ['lazy', 'web']);
}, { COMPUTESDK_SETUP_B64: payload }));

test('an empty payload', withDaemon(async ({ sandbox }) => {
  assert.deepEqual(await sandbox.server.list(), []);
}, { COMPUTESDK_SETUP_B64: encodeSetupPayload({}) }));
