// The limits of docs/reference.md against the constants of the code.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rows } from './markdown.mjs';
import { PAGE, code } from './reference.mjs';

/** The value of an expression of Rust: a product of numbers, or a duration in ms. */
function value(expression, place) {
  const [, unit, inner] = expression.match(/^Duration::from_(secs|millis)\((.*)\)$/) ?? [];
  const product = inner ?? expression;
  assert.match(product, /^[\d_]+( \* [\d_]+)*$/, `${place}: ${expression} is not understood here`);
  const number = product.split(' * ').reduce((all, part) => all * Number(part.replaceAll('_', '')), 1);
  return unit === 'secs' ? number * 1000 : number;
}

/** A constant, or with a small letter a field of the limits of the front. */
function constant(file, name) {
  const pattern = /^[a-z]/.test(name) ? `^ +${name}: ([^,;]+),$` : `\\bconst ${name}: [\\w:]+ = ([^;]+);`;
  const found = [...code(file).matchAll(new RegExp(pattern, 'gm'))].map(([, expression]) => expression).filter((text) => /\d/.test(text));
  assert.equal(found.length, 1, `${file} has ${found.length} values of ${name}`);
  return value(found[0], `${file}, ${name}`);
}

const count = (number) => number.toLocaleString('en-US');
const plain = String;
const size = (bytes) => (bytes >= 1024 * 1024 ? `${bytes / 1024 / 1024} MiB` : `${bytes / 1024} KiB`);
const seconds = (ms) => `${ms / 1000} s`;
const days = (ms) => `${ms / 86_400_000} days`;

/** By the beginning of a row: the constants of its numbers, and how each is written. */
const LIMITS = {
  'connections at a time': [['http/mod.rs', 'connections', plain]],
  'connections of visitors': [['proxy/mod.rs', 'VISITORS_MAX', plain], ['proxy/mod.rs', 'VISITORS_OF_ONE', plain]],
  'a visitor that sends a body': [
    ['proxy/relay.rs', 'CLIENT_SENDS', seconds], ['proxy/relay.rs', 'CLIENT_TAKES', seconds], ['http/mod.rs', 'VISIT_TARGET', size],
    ['http/mod.rs', 'VISIT_HEAD', size], ['http/head.rs', 'VISIT_HEADERS_MAX', (number) => `${number} lines`],
  ],
  'clients with the token that wait': [['api/permits.rs', 'WAITS_MAX', plain]],
  'clients without the token that wait': [['api/permits.rs', 'OPEN_WAITS_MAX', plain], ['api/handlers/read.rs', 'OPEN_WAIT_LIMIT', seconds]],
  'followed logs': [['api/permits.rs', 'STREAMS_MAX', plain]],
  'readers of': [['api/permits.rs', 'EVENT_READERS_MAX', plain]],
  'from the first byte': [['http/mod.rs', 'request', seconds]],
  'idle connection': [['http/mod.rs', 'idle', seconds]],
  'a client that takes nothing': [['http/mod.rs', 'write', seconds], ['http/mod.rs', 'stall', seconds]],
  'an answer as a whole': [['http/mod.rs', 'answer', seconds], ['http/mod.rs', 'rate', (bytes) => `${size(bytes)}/s`]],
  'bodies of all clients': [['http/mod.rs', 'bodies', size], ['http/mod.rs', 'turn', seconds]],
  'large heads and answers': [['http/mod.rs', 'strangers', size]],
  'request body, URL, headers': [
    ['http/mod.rs', 'body', size], ['http/mod.rs', 'target', size], ['http/mod.rs', 'head', size],
    ['http/head.rs', 'HEADERS_MAX', (number) => `${number} lines`],
  ],
  'depth of JSON': [['api/input/fields.rs', 'DEPTH_MAX', plain]],
  '`start`, `install`': [['model/spec.rs', 'COMMAND_MAX', count], ['model/spec.rs', 'VARIABLE_MAX', count]],
  'a path; `health_check.path`': [['api/input.rs', 'PATH_MAX', count], ['model/overlay.rs', 'PATH_MAX', count], ['api/input.rs', 'URL_PATH_MAX', count]],
  'each `_ms` field': [['model/spec.rs', 'DURATION_MAX', days]],
  '`overlays`, `depends_on`': [
    ['api/input/overlay.rs', 'OVERLAYS_MAX', plain], ['api/input.rs', 'DEPENDENCIES_MAX', plain], ['api/input.rs', 'IGNORED_PORTS_MAX', count],
  ],
  '`servers`, `overlays` of a sandbox': [
    ['api/input/sandbox.rs', 'SERVERS_MAX', count], ['api/input/overlay.rs', 'OVERLAYS_MAX', plain], ['api/input/sandbox.rs', 'NAME_MAX', plain],
  ],
  '`ignore`': [['api/input/overlay.rs', 'PATTERNS_MAX', count], ['api/input/overlay.rs', 'PATTERN_MAX', count]],
  '`env_file`, payload file': [
    ['supervisor/command.rs', 'ENV_FILE_MAX', size], ['setup.rs', 'FILE_MAX', size], ['store/home.rs', 'MEMBER_MAX', size],
  ],
  'reading `env_file`': [['os/fs/plain.rs', 'READ_LIMIT', seconds]],
  'a path of a request': [['api/handlers/create.rs', 'LOOK_LIMIT', seconds], ['overlay/mod.rs', 'LOOK_LIMIT', seconds], ['os/deadline.rs', 'HUNG_MAX', plain]],
  'warnings in an answer': [['error.rs', 'WARNINGS_MAX', plain]],
  'head of an answer to a health check': [['prober/head.rs', 'KEPT_MAX', size], ['prober/head.rs', 'HEADERS_MAX', plain]],
  'a line of a log': [['logs/lines.rs', 'LINE_MAX', size]],
  'runs that are kept': [['runs/mod.rs', 'KEPT', plain], ['runs/tail.rs', 'LINES', (number) => `${number} lines`], ['runs/tail.rs', 'BYTES', size]],
  '`DELETE` of an overlay': [['overlay/mod.rs', 'ERASE_LIMIT', seconds]],
};
/** Rows whose numbers follow from several constants. */
const WITHOUT = ['a follower that has left'];

test('limits are those of the code', () => {
  const table = rows(PAGE, 'Limits');
  assert.ok(table.length >= 29, `only ${table.length} rows are seen`);
  for (const [cell] of table) {
    const own = [...Object.keys(LIMITS), ...WITHOUT].filter((start) => cell.startsWith(start));
    assert.equal(own.length, 1, `${PAGE}, section "Limits": compare the row "${cell}" with constants here, or name it as one without`);
  }
  for (const [start, constants] of Object.entries(LIMITS)) {
    const row = table.find(([cell]) => cell.startsWith(start));
    assert.ok(row, `${PAGE}, section "Limits": no row begins with "${start}"`);
    for (const [file, name, written] of constants) {
      const text = written(constant(`src/${file}`, name));
      const isThere = new RegExp(`(?<![\\d.,])${text.replace(/[.*+?^$()|[\]\\]/g, '\\$&')}(?![\\d]|[.,]\\d)`).test(row[1]);
      assert.ok(isThere, `${PAGE}, section "Limits": the row "${row[0]}" has to say ${text}, by ${name} of src/${file}`);
    }
  }
});

test('the owners and the rest of the connections', () => {
  const owners = constant('src/http/mod.rs', 'connections') - constant('src/http/slots.rs', 'STRANGERS_MIN');
  const [, text] = rows(PAGE, 'Limits').find(([cell]) => cell.startsWith('connections at a time'));
  assert.equal(text.split(String(owners)).length, 3, `${PAGE}, section "Limits": those with the token have ${owners} connections`);
});
