// How runs ended, as the client shows it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { logged, reaches, until, withDaemon } from './support.js';

test('last_exit says why, and stays while the next run lives', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({ slug: 'api', start: 'echo broken >&2; exit 3' });
  const failed = await reaches(sandbox, 'api', 'failed');
  assert.deepEqual([failed.exit_code, failed.restart_count], [3, 0]);
  const last = failed.last_exit;
  assert.deepEqual([last.run, last.kind, last.reason, last.exit_code, last.exit_signal, last.next],
    [1, 'start', 'exit', 3, null, 'none']);
  assert.match(last.sentence, /^exited with code 3 after /);
  assert.match(failed.status_reason, /exited with code 3/);
  assert.ok(last.duration_ms >= 0 && Date.parse(last.started_at) <= Date.parse(last.ended_at), JSON.stringify(last));
  assert.equal(last.tail, undefined, 'the last lines are in its log');
  assert.deepEqual((await sandbox.server.list()).find(({ slug }) => slug === 'api').last_exit, last);

  await sandbox.server.start({ slug: 'web', start: 'exec sleep 1000' });
  const server = await reaches(sandbox, 'web', 'running');
  assert.equal(server.last_exit, undefined, 'none has ended yet');
  await sandbox.server.restart('web');
  const again = await reaches(sandbox, 'web', 'running');
  assert.deepEqual([again.exit_code, again.last_exit.reason, again.last_exit.next], [null, 'restarted', 'restart']);
  await sandbox.server.stop('web');
  const stopped = await sandbox.server.retrieve('web');
  assert.deepEqual([stopped.last_exit.run, stopped.last_exit.reason, stopped.last_exit.exit_signal], [2, 'stopped', 'SIGTERM']);
}));

test('each crash is a run of its own, and the last one gives up', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({
    slug: 'job', start: 'kill -KILL $$', restart_policy: 'always', max_restarts: 3, restart_delay_ms: 1,
  });
  const { last_exit: last, restart_count, exit_signal } = await reaches(sandbox, 'job', 'failed');
  assert.deepEqual([last.run, last.reason, last.next, restart_count, exit_signal], [4, 'signal', 'gave_up', 3, 'SIGKILL']);
}));

test('stop_signal has one name on the way in, in the answer and in the end', withDaemon(async ({ sandbox }) => {
  for (const [given, name] of [['quit', 'SIGQUIT'], ['RTMIN+3', 'SIGRTMIN+3'], [37, 'SIGRTMIN+3']]) {
    await sandbox.server.start({ slug: 'web', start: 'exec sleep 1000', stop_signal: given, stop_mode: 'mixed' });
    const server = await sandbox.server.retrieve('web');
    assert.deepEqual([server.stop_signal, server.stop_mode], [name, 'mixed']);
    await sandbox.server.stop('web');
    const { exit_signal, last_exit } = await sandbox.server.retrieve('web');
    assert.deepEqual([exit_signal, last_exit.exit_signal], [name, name]);
    await sandbox.server.delete('web');
  }
}));

test('the last lines of a log, and the newest part of one that is too long', withDaemon(async ({ sandbox }) => {
  await sandbox.server.start({ slug: 'api', start: "printf 'one\\ntwo\\nthree'; exec sleep 1000" });
  assert.equal(await logged(sandbox, 'api', 'three'), 'one\ntwo\nthree');
  await sandbox.server.start({
    slug: 'progress', start: `i=0; while [ $i -lt 200000 ]; do printf 'step %d of many\\r' $i; i=$((i+1)); done; echo; echo end`,
  });
  await reaches(sandbox, 'progress', 'stopped');
  const { logs } = await until('it is all there', async () => {
    const answer = await sandbox.server.logs('progress');
    return answer.logs.endsWith('end\n') && answer;
  });
  assert.match(logs.slice(-200), /step 199999 of many\r\nend\n$/, 'what came last is kept');
}));
