// The tables of docs/reference.md against the help texts, the API's document, the code and a daemon's answers: neither may have a row
// that the other has not.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { test } from 'node:test';
import { TOKEN, freePort, until, withDaemon } from '../sdk/support.js';
import { ROOT, names, read, rows } from './markdown.mjs';
import { PAGE, api, code, first, helpOf, listed, resolved, rustFiles, same, schemas, source } from './reference.mjs';

test('options', () => {
  const help = helpOf('serve', '--help');
  const options = [...help.matchAll(/^ {2}(--[a-z-]+(?: [A-Z]+)?) {2,}/gm)].map(([, option]) => option);
  assert.ok(options.length >= 12, `only these options are seen in --help: ${options}`);
  same('Options', '`servisor serve --help`', options, first('Options'));
  for (const [option, variable] of rows(PAGE, 'Options')) {
    const name = `SERVISOR_${names(option)[0].split(' ')[0].slice(2).replaceAll('-', '_').toUpperCase()}`;
    assert.ok(names(variable).includes(name), `${PAGE}, section "Options": the row of ${option} has to name ${name}`);
  }
});

for (const [section, [schema, expected]] of Object.entries(listed)) {
  test(`fields: ${section}`, () => same(section, `${schema} of openapi.json`, expected, first(section)));
}

/** The values that a property may have, by its dotted name; none where all are possible. */
function values(schema, prefix = '') {
  return Object.entries(schema.properties ?? {}).flatMap(([name, value]) => {
    const inner = resolved(value);
    if (inner.enum) return [[`${prefix}${name}`, inner.enum.filter((one) => one !== null).map(String)]];
    return inner.properties && !['overlay', 'last_exit'].includes(name) ? values(inner, `${prefix}${name}.`) : [];
  });
}

test('a field with a few possible values names them all', () => {
  let seen = 0;
  for (const [section, [schema, fieldsOfSection]] of Object.entries(listed)) {
    for (const [name, all] of values(schemas[schema]).filter(([name]) => fieldsOfSection.includes(name))) {
      const row = rows(PAGE, section).find(([cell]) => names(cell).includes(name)).slice(1).join(' ');
      // Between backquotes, with or without quotation marks.
      const missing = all.filter((one) => !names(row).some((word) => word.replaceAll('"', '') === one));
      assert.deepEqual(missing, [], `${PAGE}, section "${section}": the row of ${name} has to name these values`);
      seen += 1;
    }
  }
  assert.ok(seen >= 8, `only ${seen} such fields are seen`);
});

test('routes and queries', () => {
  const methods = ['get', 'put', 'post', 'patch', 'delete'];
  const routes = Object.entries(api.paths).flatMap(([route, item]) => methods.filter((method) => item[method])
    .map((method) => ({ call: `${method.toUpperCase()} ${route}`, parameters: [...(item.parameters ?? []), ...(item[method].parameters ?? [])], operation: item[method] })));
  const table = rows(PAGE, 'Routes').filter(([call]) => names(call)[0].includes(' '));
  same('Routes', 'openapi.json', routes.map(({ call }) => call), table.map(([call]) => names(call)[0]));
  const queries = new Set();
  for (const { call, parameters, operation } of routes) {
    const [, success, query, text] = table.find(([cell]) => names(cell)[0] === call);
    const known = parameters.map(resolved)
      .filter((parameter) => parameter.in === 'query').map(({ name }) => name);
    known.forEach((name) => queries.add(name));
    same(`Routes, queries of ${call}`, 'openapi.json', known, names(query));
    const codes = Object.keys(operation.responses).filter((code) => code.startsWith('2'));
    same(`Routes, success of ${call}`, 'openapi.json', codes, success.split(', '));
    const isOpen = operation.security?.length === 0;
    assert.equal(text.startsWith('*open*'), isOpen, `${PAGE}, section "Routes": ${call} is ${isOpen ? '' : 'not '}*open*`);
  }
  const described = rows(PAGE, 'Routes').map(([cell]) => names(cell)[0]).filter((name) => !name.includes(' '));
  same('Routes, query parameters', 'openapi.json', [...queries], described);
});

test('error codes', () => {
  const errors = source('src/error.rs');
  const words = new Map([...errors.matchAll(/Code::(\w+)(?:\([^)]*\)|\s*\{[^}]*\})? => "([a-z_]+)"/g)].map(([, name, word]) => [name, word]));
  assert.ok(words.size >= 20, `only these codes are seen in src/error.rs: ${[...words.values()]}`);
  const pairs = new Set();
  const status = errors.match(/fn status\(self\)[\s\S]*?\n {4}}\n/)?.[0] ?? '';
  for (const [, variants, code] of status.matchAll(/((?:Code::\w+(?:\([^)]*\)|\s*\{[^}]*\})?[\s|]*)+)=> (\d{3})/g)) {
    for (const [, name] of variants.matchAll(/Code::(\w+)/g)) pairs.add(`${code} ${words.get(name)}`);
  }
  // The refusals of the front.
  for (const file of fs.readdirSync(path.join(ROOT, 'src'), { recursive: true }).filter((name) => /^http\/.*\.rs$/.test(name))) {
    for (const [, code, word] of source(path.join('src', file)).matchAll(/\((\d{3}), "([a-z_]+)", ["w]/g)) pairs.add(`${code} ${word}`);
  }
  same('Errors', 'src/error.rs and the refusals of the front', [...pairs], rows(PAGE, 'Errors').map(([code, word]) => `${code} ${names(word)[0]}`));
});

test('error codes of the proxy', () => {
  const files = rustFiles('src/proxy').filter((file) => code(file).includes('ProxyError::new('));
  const pairs = [];
  for (const file of files) {
    const text = code(file);
    const calls = [...text.matchAll(/ProxyError::new\(\s*([^,]+),\s*([^,]+),/g)];
    assert.equal(calls.length, text.split('ProxyError::new(').length - 1, `${file} has a call of ProxyError::new that is not understood here`);
    for (const [call, status, word] of calls) {
      if (/^\d{3}$/.test(status) && /^"\w+"$/.test(word)) pairs.push(`${status} ${word.slice(1, -1)}`);
      else assert.equal(`${status} ${word}`, 'http word', `${file}: neither literals nor a pair: ${call}`);
    }
    // Both are chosen before the call.
    const chosen = [...text.matchAll(/\((\d{3}), "(\w+)"\)/g)].map(([, status, word]) => `${status} ${word}`);
    assert.equal(chosen.length > 0, /ProxyError::new\(\s*http, word/.test(text), `${file}: pairs of status and code without a use, or a use without pairs`);
    pairs.push(...chosen);
  }
  assert.ok(new Set(pairs).size >= 14, `only these are seen in src/proxy: ${pairs}`);
  same('Errors of the proxy', 'src/proxy', pairs, rows(PAGE, 'Errors of the proxy').map(([status, word]) => `${status} ${names(word)[0]}`));
});

test('commands and their options', () => {
  const shown = (text) => [...text.matchAll(/^ {2}(?:(-\w), | {4})(--[a-z-]+(?: [A-Z]+(?:=[A-Z]+)?)?)(?: {2}|$)/gm)]
    .map(([, letter, long]) => (letter ? `${letter} ${long}` : long));
  const overview = helpOf('--help');
  const commands = [...overview.split('\nOptions of each command')[0].matchAll(/^ {2}([a-z]+) {2,}/gm)].map(([, name]) => name).filter((name) => name !== 'serve');
  assert.ok(commands.length >= 15, `only these commands are seen in --help: ${commands}`);
  same('Commands', '`servisor --help`', [...commands, 'each'], rows(PAGE, 'Commands').map(([cell]) => names(cell)[0] ?? cell));
  const common = shown(overview);
  for (const [cell, , options] of rows(PAGE, 'Commands')) {
    const [name] = names(cell);
    const own = name ? shown(helpOf('help', name)).filter((option) => !common.includes(option)) : common;
    same(`Commands, options of ${name ?? 'each'}`, `\`servisor help ${name ?? ''}\``, own, names(options));
  }
});

test('exit codes', () => {
  const [, known] = helpOf('--help').match(/Exit codes: ([\s\S]*?)\./);
  const code = source('src/cli/mod.rs').match(/enum CliExit \{[\s\S]*?\n}\n/)?.[0] ?? '';
  const own = [...code.matchAll(/ = (\d+),/g)].map(([, number]) => number);
  const [, interrupted] = source('src/cli/mod.rs').match(/const INTERRUPTED: i32 = (\d+)/);
  assert.ok(own.length >= 6, `only these codes are seen in src/cli/mod.rs: ${own}`);
  const listed = rows(PAGE, 'Exit codes').map(([cell]) => cell);
  same('Exit codes', 'src/cli/mod.rs', [...own, interrupted], listed);
  same('Exit codes', '`servisor --help`', known.match(/\d+/g), listed);
});

test('events', () => {
  const code = source('src/api/events.rs');
  const sent = [...code.matchAll(/self\.event\([^,]+, "(\w+)"/g), ...code.matchAll(/event: (\w+)\\n/g)].map(([, name]) => name);
  assert.ok(sent.length >= 5, `only these events are seen in src/api/events.rs: ${sent}`);
  same('Events', 'src/api/events.rs', sent, first('Events'));
  same('Events', 'src/api/openapi.json', names(api.paths['/events'].get.summary), first('Events'));
});

test('threads', () => {
  const [table] = source('src/lib.rs').match(/^\/\/! \| name \| created by [\s\S]*?^\/\/!$/m);
  const map = [...table.matchAll(/^\/\/! \| (main|`[^`]+`)/gm)].map(([, cell]) => cell.replaceAll('`', ''));
  assert.ok(map.length >= 12, `only these threads are seen in src/lib.rs: ${map}`);
  const described = rows('docs/design.md', 'Threads').flatMap(([cell]) => (cell === 'main' ? [cell] : names(cell)));
  assert.deepEqual(described.filter((name) => !name.endsWith('.N')).sort(), map.sort(), 'docs/design.md, section "Threads", differs from src/lib.rs');
});

/** The status of an answer on the daemon's port under the name of a server. */
async function visit(daemon, name) {
  const { hostname, port } = new URL(daemon.url);
  const [response] = await once(http.get({ hostname, port, headers: { host: `${name}.localhost:${port}` } }), 'response');
  await response.toArray();
  return response.statusCode;
}

test('metrics, their types and labels', withDaemon(async ({ daemon, sandbox }) => {
  // One of everything: a health check that passes, a run that ended, output, a visit.
  await sandbox.server.start({ slug: 'once', start: 'echo done' });
  await sandbox.server.start({ slug: 'web', start: 'exec python3 -m http.server --bind 127.0.0.1 $PORT', port: await freePort(), health_check: {} });
  const get = (route) => fetch(`${daemon.url}${route}`, { headers: { Authorization: `Bearer ${TOKEN}` } }).then((answer) => answer.text());
  await get('/servers/once?wait_for=stopped');
  await get('/ready?wait=true');
  assert.equal(await visit(daemon, 'web'), 200);
  // A visit is counted when its answer is on its way.
  const text = await until('the visit in /metrics', async () => {
    const all = await get('/metrics');
    return /^servisor_proxy_requests_total\{/m.test(all) && all;
  });
  const types = new Map([...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name, type]) => [name, type]));
  assert.ok(types.size >= 19, `only these metrics are seen: ${[...types.keys()]}`);
  same('Metrics', '`GET /metrics`', [...types.keys()], first('Metrics'));
  for (const [cell, type, labels] of rows(PAGE, 'Metrics')) {
    const [name] = names(cell);
    assert.equal(type, types.get(name), `${PAGE}, section "Metrics": the type of ${name}`);
    const sample = text.match(new RegExp(`^${name}(?:\\{(.*)\\})? \\S+$`, 'm'));
    assert.ok(sample, `no sample of ${name} is seen`);
    same(`Metrics, labels of ${name}`, '`GET /metrics`', [...(sample[1] ?? '').matchAll(/(\w+)="/g)].map(([, label]) => label), names(labels));
  }
}, { SERVISOR_PROXY: '1' }));

test('a row that is missing is named', () => {
  assert.throws(() => same('Options', 'x', ['--new', '--old'], ['--old', '--gone']), /add a row for --new; remove the row of --gone/);
  assert.ok(read(PAGE).includes('## Options'));
});
