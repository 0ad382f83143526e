// The sentences that the client throws at its user: what is wrong, with which value, and what to do.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TOKEN, close, freePort, listen, withDaemon } from './support.js';

/** Asserts that `promise` fails with the status and with all of `parts` in its message. */
async function fails(promise, status, ...parts) {
  const error = await promise.then(() => assert.fail(`no error, ${status} expected`), (error) => error);
  assert.ok(error.message.startsWith(`API request failed (${status}): `), error.message);
  for (const part of parts) assert.ok(error.message.includes(part), `${JSON.stringify(part)} is not in: ${error.message}`);
}

test('a server that does not exist', withDaemon(async ({ sandbox }) => {
  const { server } = sandbox;
  for (const call of ['retrieve', 'stop', 'restart', 'delete', 'logs']) {
    await fails(server[call]('wbe'), 404, 'no server "wbe"', 'GET /servers');
  }
  // The client encodes what stands in a path.
  await fails(server.retrieve('a b/ü'), 404, '"a b/ü"');
}));

test('a slug in use', withDaemon(async ({ sandbox }) => {
  const { pid } = await sandbox.server.start({ slug: 'web', start: 'sleep 1000' });
  await fails(sandbox.server.start({ slug: 'web', start: 'sleep 2000' }), 409, '"web"', 'stop or delete it first');
  const server = await sandbox.server.retrieve('web');
  assert.deepEqual([server.pid, server.start], [pid, 'sleep 1000'], 'it is left alone');
}));

test('a taken strict port', withDaemon(async ({ sandbox }) => {
  const port = await freePort();
  const other = await listen(port);
  await fails(
    sandbox.server.start({ slug: 'web', start: 'sleep 1000', port, strict_port: true }),
    409, `port ${port} `, 'free it', 'another port', 'strict_port',
  );
  await close(other);
}));

test('fields that can not be', withDaemon(async ({ sandbox }) => {
  const start = (config) => sandbox.server.start({ slug: 'web', start: 'sleep 1', ...config });
  const refused = (config, ...parts) => fails(start(config), 422, ...parts);
  await refused({ restart_policy: 'on_failure' }, 'restart_policy', '"on_failure"', 'did you mean "on-failure"?');
  await refused({ restart_policy: 'sometimes' }, 'restart_policy', '"sometimes"', '"never"', '"on-failure"', '"always"');
  await refused({ port: 70000 }, 'port', 'from 1 to 65535', '70000');
  await refused({ port: 0 }, 'port', 'from 1 to 65535', 'not 0');
  await refused({ port: '3000' }, 'port', 'number', '"3000"');
  await refused({ start: '' }, 'start', 'empty');
  await refused({ start: undefined }, 'start');
  await refused({ slug: undefined }, 'slug');
  await refused({ slug: 'my app' }, 'slug', '"my app"');
  await refused({ path: 'no/such/directory' }, 'path', 'no/such/directory', 'must exist');
  await refused({ environment: { PORT: 3000 } }, 'environment.PORT', 'quotes');
  await refused({ max_restarts: -1 }, 'max_restarts', '-1');
  await refused({ restart_delay_ms: 'soon' }, 'restart_delay_ms');
  await refused({ stop_timeout_ms: 1.5 }, 'stop_timeout_ms', '1.5');
  await refused({ health_check: { path: 'health' } }, 'health_check.path', '"health"', '"/health"');
  await refused({ port: 70000, restart_policy: 'x', start: '' }, 'port', 'restart_policy', 'start');
  assert.deepEqual(await sandbox.server.list(), [], 'nothing is kept of a refused configuration');
}));

test('a wrong token, and none', withDaemon(async ({ daemon }) => {
  const wrong = daemon.sandbox({ token: `${TOKEN}x` });
  await fails(wrong.server.list(), 401, 'access token', 'wrong', 'Authorization: Bearer TOKEN');
  const none = daemon.sandbox({ token: undefined });
  await fails(none.server.list(), 401, 'access token', 'needed', 'Authorization: Bearer TOKEN');
  await fails(none.server.retrieve('unknown'), 401, 'access token');
  await fails(none.server.start({ slug: 'web', start: 'touch started' }), 401, 'access token');
  assert.deepEqual(await daemon.sandbox().server.list(), []);
}));

test('what this daemon does not have', withDaemon(async ({ sandbox }) => {
  await fails(sandbox.terminal.list(), 501, 'servisor manages servers', 'terminals');
}));
