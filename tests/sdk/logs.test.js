// What servers have written.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { logged, reaches, withDaemon } from './support.js';

test('combined, stdout only, stderr only', withDaemon(async ({ sandbox, root }) => {
  // Each line waits until the one before it was seen: only so there is an order in what comes by two ways.
  const when = (file) => `until [ -e ${file} ]; do sleep 0.01; done`;
  await sandbox.server.start({
    slug: 'api', start: `echo one; ${when('first')}; echo two >&2; ${when('second')}; echo three; exec sleep 1000`,
  });
  await logged(sandbox, 'api', 'one');
  fs.writeFileSync(path.join(root, 'first'), '');
  await logged(sandbox, 'api', 'two');
  fs.writeFileSync(path.join(root, 'second'), '');
  await logged(sandbox, 'api', 'three');

  const stdout = await sandbox.server.logs('api', { stream: 'stdout' });
  assert.deepEqual([stdout.slug, stdout.stream, stdout.logs], ['api', 'stdout', 'one\nthree\n']);
  const stderr = await sandbox.server.logs('api', { stream: 'stderr' });
  assert.deepEqual([stderr.slug, stderr.stream, stderr.logs], ['api', 'stderr', 'two\n']);
  const logs = await sandbox.server.logs('api');
  assert.deepEqual([logs.slug, logs.stream, logs.logs], ['api', 'combined', 'one\ntwo\nthree\n']);
  const named = await sandbox.server.logs('api', { stream: 'combined' });
  assert.deepEqual(named, logs, 'combined is the default');
}));

test('a stream that does not exist is named', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({ slug: 'api', start: 'sleep 1000' });
  await assert.rejects(sandbox.server.logs('api', { stream: 'stdin' }), /\(422\).*stream.*"stdout", "stderr".*"stdin"/);
}));

test('logs span restarts and are there after the end', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({
    slug: 'job', start: 'echo run; exit 1', restart_policy: 'on-failure', max_restarts: 2, restart_delay_ms: 1,
  });
  await reaches(sandbox, 'job', 'failed');
  assert.equal((await sandbox.server.logs('job')).logs, 'run\nrun\nrun\n');
}));

test('a line that is not finished is shown', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({ slug: 'shy', start: "printf 'password: '; exec sleep 1000" });
  assert.equal(await logged(sandbox, 'shy', 'password'), 'password: ');
}));

test('text of all languages, and bytes that are no text', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({
    slug: 'poet', start: "echo 'größer, 東京, 🚀'; printf 'a\\377b\\033[1m\\n'; echo end",
  });
  assert.equal(await logged(sandbox, 'poet', 'end'), 'größer, 東京, 🚀\na\ufffdb\u001b[1m\nend\n');
}));

test('a server that writes much is not slowed, and its newest lines are kept', withDaemon(async ({ sandbox }) => {
  // About 6 MiB without a newline in the wrong place.
  await sandbox.server.start({ slug: 'chatty', start: 'seq 1 900000; echo end >&2' });
  await reaches(sandbox, 'chatty', 'stopped');
  const { logs, truncated, dropped_bytes } = await sandbox.server.logs('chatty', { stream: 'stdout' });
  assert.ok(truncated && dropped_bytes > 0);
  const lines = logs.trimEnd().split('\n').map(Number);
  assert.equal(lines.at(-1), 900000);
  assert.ok(lines.length > 50000);
  assert.deepEqual(lines, Array.from(lines, (_, place) => lines[0] + place), 'whole lines, none missing');
}));
