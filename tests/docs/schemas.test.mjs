// The types and the names of docs/reference.md against the schemas of the API's document.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blocks, names, prose, rows } from './markdown.mjs';
import { PAGE, api, listed, resolved, same, schemas } from './reference.mjs';

const isNull = (schema) => schema.type === 'null';

/** How the type of a value can be written, the general form first. */
function types(value) {
  const schema = resolved(value);
  if (schema.anyOf) {
    const each = schema.anyOf.filter((one) => !isNull(one)).map(types);
    return each.length === 1 ? each[0] : [each.map((forms) => forms.at(-1)).join(' or ')];
  }
  if (schema.enum) return ['string', schema.enum.filter((one) => one !== null).map((one) => `\`${one}\``).join(', ')];
  if (schema.const !== undefined) return [typeof schema.const];
  if (schema.format === 'date-time') return ['time'];
  const type = [schema.type ?? 'object'].flat().find((one) => one !== 'null');
  if (type === 'integer') return schema.maximum <= 65_535 ? [type, `${schema.minimum} to ${schema.maximum}`] : [type];
  if (type === 'array') return [type, `array of ${plural(types(schema.items).at(-1))}`];
  if (type === 'object' && schema.additionalProperties) return [type, `object of ${plural(types(schema.additionalProperties).at(-1))}`];
  return [type];
}

const plural = (type) => (/^[a-z]+$/.test(type) ? `${type}s` : type);

/** The schema of a property by its dotted name, in its own properties or in those of what it is based on. */
function property(schema, name) {
  const [own, ...rest] = name.split('.');
  const found = schema.properties[own];
  return rest.length ? property(resolved(found), rest.join('.')) : found;
}

/** Asserts that `cell` is a form of the type of `value`. */
function isTyped(section, name, cell, value) {
  const forms = types(value);
  assert.ok(forms.includes(cell.replaceAll('"', '')), `${PAGE}, section "${section}": the type of ${name} is ${forms.at(-1)}, not ${cell}`);
}

test('types of fields', () => {
  let seen = 0;
  for (const [section, [schema]] of Object.entries(listed)) {
    for (const [cell, type] of rows(PAGE, section)) {
      // One row for several fields says elsewhere what they are.
      if (names(cell).length > 1) continue;
      const [name] = names(cell);
      isTyped(section, name, type, property(schemas[schema], name));
      seen += 1;
    }
  }
  assert.ok(seen >= 100, `only ${seen} types are seen`);
});

/** What has a section of its own. */
const WHOLE = ['Server', 'Overlay', 'Sandbox', 'Success'].map((name) => `#/components/responses/${name}`);

/** The calls with their answers in JSON that have no section of their own: `[call, fields]`. */
const others = Object.entries(api.paths).flatMap(([route, item]) => Object.entries(item).flatMap(([method, operation]) => {
  const answers = Object.entries(operation.responses ?? {}).filter(([code, { $ref }]) => code.startsWith('2') && !WHOLE.includes($ref));
  const bodies = answers.map(([, answer]) => answer.content?.['application/json']).filter(Boolean).map(({ schema }) => resolved(schema));
  return bodies.filter(({ properties }) => properties)
    .map(({ properties }) => [`${method.toUpperCase()} ${route}`, properties.data ? resolved(properties.data).properties : properties]);
}));

test('other answers', () => {
  const expected = new Map(others.flatMap(([call, fields]) => Object.entries(fields).map(([name, schema]) => [`${call} ${name}`, schema])));
  assert.ok(expected.size >= 20, `only these fields are seen in openapi.json: ${[...expected.keys()]}`);
  const table = rows(PAGE, 'Other answers').map(([call, field, type]) => [`${names(call)[0]} ${names(field)[0]}`, type]);
  same('Other answers', 'openapi.json', [...expected.keys()], table.map(([name]) => name));
  for (const [name, type] of table) isTyped('Other answers', name, type, expected.get(name));
});

/** Adds all names of properties below `schema` to `found`. */
function collect(schema, found, visited = new Set()) {
  const { $ref } = schema;
  if (visited.has($ref)) return;
  if ($ref) visited.add($ref);
  const whole = resolved(schema);
  for (const [name, value] of Object.entries(whole.properties ?? {})) {
    found.add(name);
    collect(value, found, visited);
  }
  for (const part of [whole.items, ...(whole.allOf ?? []), ...(whole.anyOf ?? [])]) if (part) collect(part, found, visited);
}

test('every name in an answer is on the page', () => {
  const answered = new Set();
  for (const operation of Object.values(api.paths).flatMap((item) => Object.values(item))) {
    for (const answer of Object.values(operation.responses ?? {})) {
      const body = resolved(answer).content?.['application/json'];
      if (body) collect(body.schema, answered);
    }
  }
  assert.ok(answered.size >= 100, `only these names are seen in openapi.json: ${[...answered]}`);
  const quoted = names(prose(PAGE));
  const keys = [...quoted, ...blocks(PAGE).map(({ text }) => text)].flatMap((text) => [...text.matchAll(/"(\w+)"(?=[:,}])/g)].map(([, key]) => key));
  const known = new Set([...quoted.map((name) => name.split('.').at(-1)), ...keys]);
  assert.deepEqual([...answered].filter((name) => !known.has(name)), [], `${PAGE} does not have these names of openapi.json`);
});
