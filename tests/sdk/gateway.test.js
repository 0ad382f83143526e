// `compute.sandbox`: the SDK's gateway, as its own client sees it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compute } from 'computesdk';
import WebSocket from 'ws';
import { TOKEN, exists, reaches, withDaemon } from './support.js';

const ON = { SERVISOR_GATEWAY: '1' };

/** The client as the three environment variables would make it. */
function client(daemon, computesdkApiKey = TOKEN) {
  const computesdk = { computesdk_api_key: computesdkApiKey };
  return compute({ provider: 'computesdk', computesdkApiKey, gatewayUrl: daemon.url, computesdk, WebSocket }).sandbox;
}

const servers = [{ slug: 'web', start: 'exec sleep 1000' }];
const slugs = async (sandbox) => (await sandbox.server.list()).map(({ slug }) => slug);

test('create, getById, destroy', withDaemon(async ({ daemon }) => {
  const sandboxes = client(daemon);
  const made = await sandboxes.create({ servers, metadata: { user: 'Zoë' }, timeout: 60_000 });
  assert.deepEqual([made.provider, made.config.sandboxUrl, made.config.metadata.user], ['servisor', daemon.url, 'Zoë']);
  assert.equal(made.config.metadata.servers[0].slug, 'web');
  const { pid } = await reaches(made, 'web', 'running');
  const same = await sandboxes.getById(made.sandboxId);
  assert.deepEqual([same.sandboxId, same.config.metadata, await slugs(same)], [made.sandboxId, { user: 'Zoë' }, ['web']]);
  assert.equal(await sandboxes.getById('another'), null);

  const next = await sandboxes.create();
  assert.notEqual(next.sandboxId, made.sandboxId);
  assert.deepEqual([await slugs(next), exists(pid)], [[], false]);
  assert.equal(await sandboxes.getById(made.sandboxId), null);
  await made.destroy();
  assert.equal((await sandboxes.getById(next.sandboxId)).sandboxId, next.sandboxId, 'an old handle ends nothing');

  await next.server.start(servers[0]);
  await sandboxes.destroy(next.sandboxId);
  assert.equal(await sandboxes.getById(next.sandboxId), null);
  assert.deepEqual(await slugs(daemon.sandbox()), []);
}, ON));

test('find, findOrCreate and extendTimeout, also after a restart of the daemon', withDaemon(async ({ daemon }) => {
  const name = { name: 'app', namespace: 'team' };
  assert.equal(await client(daemon).find(name), null);
  const made = await client(daemon).findOrCreate({ ...name, servers, metadata: { a: 1 } });
  const { pid } = await reaches(made, 'web', 'running');
  await client(daemon).extendTimeout(made.sandboxId);
  await client(daemon).extendTimeout(made.sandboxId, { duration: 1000 });
  for (const restarts of [false, true]) {
    if (restarts) {
      await daemon.end();
      await daemon.boot();
    }
    const sandboxes = client(daemon);
    for (const found of [await sandboxes.find(name), await sandboxes.findOrCreate({ ...name, servers: [] })]) {
      assert.deepEqual([found.sandboxId, found.config.metadata], [made.sandboxId, { a: 1, ...name }]);
    }
    assert.equal(await sandboxes.find({ name: 'app' }), null, 'another namespace');
    const server = await reaches(daemon.sandbox(), 'web', 'running');
    assert.equal(server.pid === pid, !restarts);
    const headers = { 'X-ComputeSDK-API-Key': TOKEN };
    const { data } = await (await fetch(`${daemon.url}/v1/sandboxes/${made.sandboxId}`, { headers })).json();
    assert.equal(data.timeout, 901_000);
    await sandboxes.extendTimeout('another');
  }
  const other = await client(daemon).findOrCreate({ name: 'other' });
  assert.notEqual(other.sandboxId, made.sandboxId);
  assert.equal(await client(daemon).find(name), null);
}, ON));

test('a payload with one bad server changes nothing', withDaemon(async ({ daemon }) => {
  const made = await client(daemon).create({ servers });
  const before = await reaches(made, 'web', 'running');
  const bad = [...servers, { slug: 'api', start: '', port: 70_000 }];
  for (const options of [{ servers: bad }, { name: 'x', servers: bad }]) {
    await assert.rejects(client(daemon).create(options), ({ message }) => {
      const { error, fields } = JSON.parse(message.replace('Gateway API error: ', ''));
      assert.deepEqual(Object.keys(fields), ['servers[1].port', 'servers[1].start']);
      return /servers\[1\]\.start must not be empty/.test(error);
    });
  }
  assert.deepEqual(await made.server.list(), [before]);
  assert.equal((await client(daemon).getById(made.sandboxId)).sandboxId, made.sandboxId);
}, ON));

test('a wrong key', withDaemon(async ({ daemon }) => {
  await assert.rejects(client(daemon, `${TOKEN}x`).create({ servers }), /Invalid ComputeSDK API key/);
  await assert.rejects(client(daemon, `${TOKEN}x`).getById('x'), /Invalid ComputeSDK API key/);
  assert.deepEqual(await slugs(daemon.sandbox()), []);
}, ON));

test('without --gateway the client says how to turn it on', withDaemon(async ({ daemon }) => {
  await assert.rejects(client(daemon).create(), /501|--gateway/);
  await assert.rejects(client(daemon).create(), /start it with --gateway/);
}));

test('what servisor is not for is said, not 404', withDaemon(async ({ daemon, sandbox }) => {
  const calls = {
    execute: () => sandbox.execute({ command: 'ls' }),
    runCommand: () => sandbox.runCommand('ls'),
    runCode: () => sandbox.runCode('1'),
    readFile: () => sandbox.filesystem.readFile('/app/a b.txt'),
    writeFile: () => sandbox.filesystem.writeFile('/app/x', 'y'),
    mkdir: () => sandbox.filesystem.mkdir('/app/d'),
    readdir: () => sandbox.filesystem.readdir('/app'),
    remove: () => sandbox.filesystem.remove('app/x'),
    batchWrite: () => sandbox.file.batchWrite([{ path: 'x', content: '' }]),
    terminal: () => sandbox.terminal.create(),
    terminals: () => sandbox.terminal.list(),
    wait: () => sandbox.waitForCommand('t', 'c', 5),
    watchers: () => sandbox.watcher.list(),
    signals: () => sandbox.signal.status(),
    emit: () => sandbox.signal.emitPort(3000, 'open', 'http://localhost:3000'),
    env: () => sandbox.env.retrieve('.env'),
    setEnv: () => sandbox.env.update('.env', { A: 'b' }),
    removeEnv: () => sandbox.env.remove('.env', ['A']),
    tokens: () => sandbox.sessionToken.create(),
    revoke: () => sandbox.sessionToken.revoke('x'),
    magicLink: () => sandbox.magicLink.create(),
    authInfo: () => sandbox.auth.info(),
    child: () => sandbox.child.create(),
    children: () => sandbox.child.list(),
    destroyChild: () => sandbox.child.destroy('x', true),
  };
  for (const [name, call] of Object.entries(calls)) {
    await assert.rejects(call(), /\(501\): servisor manages servers and overlays; .* are not part of it/, name);
  }
  assert.deepEqual([await sandbox.file.exists('/app/x'), await sandbox.env.exists('.env')], [false, false]);
  const { snapshot } = compute({ provider: 'computesdk', computesdkApiKey: TOKEN, gatewayUrl: daemon.url,
    computesdk: { computesdk_api_key: TOKEN }, WebSocket });
  for (const call of [() => snapshot.create('x'), () => snapshot.list(), () => snapshot.delete('x')]) {
    await assert.rejects(call(), /snapshots are not part of it/);
  }
}, ON));
