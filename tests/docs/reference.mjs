// What the tests of docs/reference.md compare it with: the API's document, the code, the help texts.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { ROOT, names, rows } from './markdown.mjs';
import { BINARY } from './shell.mjs';

export const PAGE = 'docs/reference.md';
export const source = (file) => fs.readFileSync(path.join(ROOT, file), 'utf8');
/** The files of Rust below a folder, without those that are tests alone. */
export const rustFiles = (folder) => fs.readdirSync(path.join(ROOT, folder), { recursive: true })
  .filter((name) => name.endsWith('.rs') && !/(^|\/)tests(\/|\.rs$)/.test(name)).map((name) => path.join(folder, name)).sort();

/** A file of Rust without its comments and its tests. */
export const code = (file) => source(file).split('#[cfg(test)]\nmod tests {')[0].replace(/^\s*\/\/.*$/gm, '');

export const helpOf = (...words) => spawnSync(BINARY, words, { encoding: 'utf8' }).stdout;

export const api = JSON.parse(source('src/api/openapi.json'));
export const schemas = api.components.schemas;

/** Asserts that a section of the page has exactly the rows that `origin` has. */
export function same(section, origin, expected, found) {
  const missing = [...new Set(expected)].filter((name) => !found.includes(name));
  const extra = found.filter((name) => !expected.includes(name));
  const twice = found.filter((name, index) => found.indexOf(name) !== index);
  const faults = [
    ...missing.map((name) => `add a row for ${name}`), ...extra.map((name) => `remove the row of ${name}: ${origin} has none`),
    ...twice.map((name) => `remove the second row of ${name}`),
  ];
  assert.deepEqual(faults, [], `${PAGE}, section "${section}", differs from ${origin}: ${faults.join('; ')}`);
}

export const first = (section) => rows(PAGE, section).flatMap(([cell]) => names(cell));

/** The part of the API's document that `value` stands for; what it adds to that wins. */
export function resolved(value) {
  if (!value.$ref) return value;
  const { $ref, ...own } = value;
  return { ...$ref.slice(2).split('/').reduce((part, name) => part[name], api), ...own };
}

/** The names of a schema's own properties, with a dot for those of an object in it. */
export function fields(schema, prefix = '') {
  return Object.entries(schema.properties ?? {}).flatMap(([name, value]) => {
    const inner = resolved(value);
    const own = inner.properties && !value.anyOf && !['overlay', 'last_exit'].includes(name) ? fields(inner, `${prefix}${name}.`) : [];
    return [`${prefix}${name}`, ...own];
  });
}

const configured = fields(schemas.ServerConfig);
/** The section of each schema, and the names that it has rows for. */
export const listed = {
  'Server configuration': ['ServerConfig', configured],
  'A server in an answer': ['Server', fields(schemas.Server).filter((name) => !configured.includes(name))],
  'A run in an answer': ['Run', fields(schemas.Run)],
  'Overlay configuration': ['OverlayConfig', fields(schemas.OverlayConfig)],
  'An overlay in an answer': ['Overlay', fields(schemas.Overlay)],
  'Sandbox configuration': ['SandboxConfig', Object.keys(schemas.SandboxConfig.properties)],
  'A sandbox in an answer': ['Sandbox', Object.keys(schemas.Sandbox.properties)],
};
