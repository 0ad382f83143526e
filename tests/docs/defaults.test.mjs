// The defaults of docs/reference.md against the API's document, the help text and what a daemon makes of a request without them.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { TOKEN, withDaemon } from '../sdk/support.js';
import { names, rows } from './markdown.mjs';
import { PAGE, api, helpOf, resolved, schemas } from './reference.mjs';

const TABLES = { 'Server configuration': 'ServerConfig', 'Overlay configuration': 'OverlayConfig', 'Sandbox configuration': 'SandboxConfig' };
/** Defaults that no constant can state, by field. */
const BY_CONTEXT = { path: 'the root', directory: 'the root', 'proxy.access': '`--proxy-access`' };
/** The objects: their absence is asserted apart, and `overlay` is never shown. */
const OBJECTS = ['overlay', 'health_check', 'proxy'];

/** Each field of a configuration with its cell of the column, its schema and whether it is required. */
function configured(section) {
  const schema = schemas[TABLES[section]];
  return rows(PAGE, section).map(([cell, , text]) => {
    const [name] = names(cell);
    const [own, inner] = name.split('.');
    const property = inner ? resolved(schema.properties[own]).properties[inner] : schema.properties[own];
    return { name, text, schema: resolved(property), isRequired: schema.required?.includes(name) ?? false };
  });
}

/** The value that a cell states; none if it states none. */
function stated(text) {
  const plain = text.replaceAll('`', '');
  try {
    return JSON.parse(plain);
  } catch {
    return plain;
  }
}

test('defaults of fields are those of openapi.json', () => {
  let seen = 0;
  for (const section of Object.keys(TABLES)) {
    for (const { name, text, schema, isRequired } of configured(section)) {
      const place = `${PAGE}, section "${section}": the default of ${name}`;
      assert.equal(text === 'required', isRequired, `${place}: openapi.json says that it is ${isRequired ? '' : 'not '}required`);
      if (schema.default !== undefined) {
        assert.deepEqual(stated(text), schema.default, `${place} is another one in openapi.json`);
        seen += 1;
      } else if (!isRequired) {
        assert.ok(['none', '`[]`', '`{}`', BY_CONTEXT[name]].includes(text), `${place}: openapi.json has none, the page ${text}`);
      }
    }
  }
  assert.ok(seen >= 18, `only ${seen} defaults are seen in openapi.json`);
});

test('defaults of query parameters are those of openapi.json', () => {
  const parameters = Object.values(api.paths).flatMap((item) => [item, ...Object.values(item)]).flatMap((part) => part.parameters ?? [])
    .map(resolved).filter((parameter) => parameter.in === 'query');
  const table = rows(PAGE, 'Routes').filter(([cell]) => !names(cell)[0].includes(' '));
  let seen = 0;
  for (const [cell, values, text] of table) {
    for (const parameter of parameters.filter(({ name }) => name === names(cell)[0])) {
      const schema = resolved(parameter.schema);
      if (schema.default === undefined) assert.doesNotMatch(text, /`/, `${PAGE}: ${parameter.name} has no default in openapi.json`);
      else assert.deepEqual(stated(text), schema.default, `${PAGE}: the default of ${parameter.name} is another one in openapi.json`);
      const [, least, most] = values.match(/^(\d+) to (\d+)/) ?? [];
      if (least) assert.deepEqual([schema.minimum, schema.maximum], [Number(least), Number(most)], `${PAGE}: the values of ${parameter.name}`);
      seen += 1;
    }
  }
  assert.equal(seen, parameters.length);
  assert.ok(seen >= 16, `only ${seen} query parameters are seen`);
});

/** Asserts that an answer shows the defaults of a section. */
function shows(section, answer, root) {
  let seen = 0;
  for (const { name, text, isRequired } of configured(section)) {
    if (isRequired || OBJECTS.includes(name)) continue;
    const shown = name.split('.').reduce((part, own) => part?.[own], answer);
    const expected = text === 'none' || text === '`--proxy-access`' ? undefined : text === 'the root' ? root : stated(text);
    assert.deepEqual(shown, expected, `${PAGE}, section "${section}": the default of ${name}; a daemon shows ${JSON.stringify(shown)}`);
    seen += 1;
  }
  return seen;
}

test('defaults of fields are those of a daemon', withDaemon(async ({ daemon, root }) => {
  const post = async (route, body) => {
    const headers = { Authorization: `Bearer ${TOKEN}`, 'Content-Type': 'application/json' };
    const answer = await fetch(`${daemon.url}${route}`, { method: 'POST', headers, body: JSON.stringify(body) });
    assert.ok(answer.ok, `${route}: ${answer.status}`);
    return answer.json();
  };
  const { data: { server } } = await post('/servers', { slug: 'bare', start: 'true' });
  assert.deepEqual([server.health_check, server.proxy], [undefined, undefined]);
  // `proxy` is shown once one of its fields has another value than its default.
  const { data: { server: full } } = await post('/servers', { slug: 'full', start: 'true', health_check: {}, proxy: { idle_stop_ms: 60_000 } });
  const { data: { server: other } } = await post('/servers', { slug: 'other', start: 'true', proxy: { host: 'public' } });
  assert.deepEqual([full.proxy.idle_stop_ms, other.proxy.host], [60_000, 'public']);
  const { health_check } = full;
  const proxy = { ...full.proxy, idle_stop_ms: other.proxy.idle_stop_ms };
  assert.ok(shows('Server configuration', { ...server, health_check, proxy }, root) >= 26);
  const source = path.join(root, 'template');
  fs.mkdirSync(source);
  assert.equal(shows('Overlay configuration', await post('/filesystem/overlays', { source, target: 'copy' }), root), 2);
  const { data: bare } = await post('/v1/sandboxes', {});
  assert.deepEqual([bare.name, bare.metadata, bare.timeout, bare.servers, bare.overlays], [undefined, {}, undefined, [], []]);
  const { data: named } = await post('/v1/sandboxes', { name: 'box' });
  assert.equal(named.namespace, stated(rows(PAGE, 'Sandbox configuration').find(([cell]) => cell === '`namespace`')[2]));
}, { SERVISOR_GATEWAY: '1' }));

test('defaults of options are those of the help text', () => {
  const [list] = helpOf('serve', '--help').split('\n\nEach option');
  const options = list.split(/\n {2}(?=--)/).slice(1).map((text) => text.replace(/\s+/g, ' '));
  assert.ok(options.length >= 17, `only these options are seen: ${options}`);
  let seen = 0;
  for (const option of options) {
    const [, name, value] = option.match(/^(--[a-z-]+)(?: ([A-Z]+))?/);
    const [, , text] = rows(PAGE, 'Options').find(([cell]) => names(cell)[0].split(' ')[0] === name);
    const [, help] = option.match(/\[([^[\]]+)\]$/) ?? [];
    if (help) {
      assert.equal(text.replaceAll('`', ''), help.replaceAll('or else', 'else'), `${PAGE}, section "Options": the default of ${name}`);
      seen += 1;
    } else if (name !== '--sandbox-url') {
      // Its default is that of each request.
      assert.equal(text, value ? 'none' : 'off', `${PAGE}, section "Options": the help has no default of ${name}`);
    }
  }
  assert.ok(seen >= 8, `only ${seen} defaults are seen in the help`);
});
