// How the status page looks, how much work it is, and whether all can use it. Screenshots go to target/browser.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { closeBrowser, pageTest, row, rowHas, shot, until } from './support.mjs';

after(closeBrowser);

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** Holds the page against the rules. The protocol of the developer tools is not bound by the page's policy. */
async function check(page, what) {
  const tools = await page.context().newCDPSession(page);
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await tools.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true, allowUnsafeEvalBlockedByCSP: true });
    assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
    return result.value;
  };
  await evaluate(`window.axe ? 0 : (${JSON.stringify(AXE.length)}, ${AXE.replace(/^\/\*[^]*?\*\//, '').trim().replace(/;$/, '')}, 0)`);
  const found = await evaluate(`axe.run({ runOnly: ${JSON.stringify(RULES)} }).then(({ violations, passes }) => ({ passes: passes.length,
    violations: violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html, failureSummary }) => html + ' ' + failureSummary).join(' | ')) }))`);
  assert.deepEqual(found.violations, [], what);
  assert.ok(found.passes > 10, `${what}: ${found.passes} rules`);
  await tools.detach();
}

async function some(daemon) {
  const web = `${process.execPath} -e "const s = require('http').createServer((q, r) => r.end('ok')); s.listen(process.env.PORT, '127.0.0.1', () => console.log('listening on port', s.address().port)); setInterval(() => console.log('GET /health 200 in', 1 + Date.now() % 9, 'ms'), 400)"`;
  const crash = 'echo loading the configuration; echo "Error: Cannot find module \'left-pad\'" >&2; echo "    at Module._load (node:internal/modules/cjs/loader:1011:27)" >&2; exit 3';
  await daemon.server('web', `exec ${web}`, { port: 23001, health_check: { path: '/health' }, environment: { NODE_ENV: 'production', API_KEY: 'secret' } });
  await daemon.server('api', crash, { restart_policy: 'on-failure', restart_delay_ms: 300, max_restarts: 5 });
  await daemon.server('worker', 'echo waiting for jobs; exec sleep 600');
  await daemon.server('build', 'true');
  await until('the end of api', async () => (await daemon.info('api')).status === 'failed');
  await until('the health of web', async () => (await daemon.info('web')).health_status === 'healthy');
}

for (const scheme of ['light', 'dark']) {
  pageTest(`it looks as it should, and all can use it: ${scheme}`, { context: { colorScheme: scheme } }, async ({ daemon, page, open }) => {
    await open('');
    await page.locator('#login[open]').waitFor();
    await check(page, 'login');
    await shot(page, `login-${scheme}`);
    await some(daemon);
    await page.goto('about:blank');
    await open();
    await rowHas(page, 'web', 'healthy');
    await check(page, 'table');
    await page.click('.name:text-is("web")');
    await page.locator('#log', { hasText: 'GET /health' }).waitFor();
    await pause(scheme === 'light' ? 15_000 : 4000);
    await check(page, 'log');
    await shot(page, scheme);
    await page.click('#tabs >> text=Configuration');
    await check(page, 'configuration');
    await shot(page, `configuration-${scheme}`);
    await page.click('.name:text-is("api")');
    await page.click('#tabs >> text=Runs');
    await page.locator('#runs', { hasText: '#6' }).waitFor();
    await check(page, 'runs');
    await shot(page, `failed-${scheme}`);
    await page.click('#more');
    await check(page, 'form');
    await shot(page, `form-${scheme}`);
    await page.keyboard.press('Escape');
    await row(page, 'web').getByRole('button', { name: 'Stop web' }).click();
    await check(page, 'question');
    await shot(page, `question-${scheme}`);
  });
}

pageTest('it can be used at 400 pixels', { context: { viewport: { width: 400, height: 800 } } }, async ({ daemon, page, open }) => {
  await some(daemon);
  await open();
  await rowHas(page, 'web', 'ready');
  const fits = () => page.evaluate(() => Math.max(document.documentElement.scrollWidth, document.querySelector('main').scrollWidth));
  assert.ok((await fits()) <= 400);
  await check(page, 'table');
  await shot(page, 'narrow');
  await page.click('.name:text-is("api")');
  await page.click('#tabs >> text=Runs');
  await page.locator('#runs', { hasText: 'Cannot find module' }).waitFor();
  assert.ok((await fits()) <= 400);
  for (const button of await page.locator('button:visible').all()) assert.ok((await button.boundingBox()).x + (await button.boundingBox()).width <= 400);
  await check(page, 'runs');
  await shot(page, 'narrow-runs');
});

/** CPU time of all processes of the browser, in seconds. */
async function cpuTime(page) {
  const tools = await page.context().browser().newBrowserCDPSession();
  const { processInfo } = await tools.send('SystemInfo.getProcessInfo');
  await tools.detach();
  return processInfo.reduce((sum, { cpuTime: time }) => sum + time, 0);
}

pageTest('a hundred servers: soon there, little work, and a change touches one row', {}, async ({ daemon, page, open }) => {
  for (let number = 0; number < 100; number += 1) await daemon.server(`server-${String(number).padStart(3, '0')}`);
  await open();
  await rowHas(page, 'server-099', 'running');
  // The best of three: other work of this machine is no matter of the page.
  const times = [];
  for (let round = 0; round < 3; round += 1) {
    await page.reload();
    times.push(await page.evaluate(() => new Promise((done) => {
      const look = () => (document.querySelectorAll('#rows tr').length === 100 ? done(performance.now()) : requestAnimationFrame(look));
      look();
    })));
  }
  const shown = Math.min(...times);
  assert.ok(shown <= 1000, `${shown} ms after the load began`);
  await pause(3000);
  await shot(page, 'hundred');

  const [before, from] = [await cpuTime(page), performance.now()];
  await pause(10_000);
  const share = (await cpuTime(page) - before) / ((performance.now() - from) / 1000);
  console.log(`100 servers: shown after ${Math.round(shown)} ms, ${(100 * share).toFixed(1)} % of an idle core`);
  assert.ok(share <= 0.05, `${(100 * share).toFixed(1)} % of a core`);

  // The statistics would draw all rows in between.
  await page.route('**/servers?stats=true', (route) => route.abort());
  await page.context().browser().startTracing(page, { categories: ['devtools.timeline'] });
  for (const status of ['ready', 'running', 'ready']) {
    await daemon.api('PATCH', '/servers/server-050/status', { status });
    await rowHas(page, 'server-050', status);
  }
  const trace = JSON.parse(await page.context().browser().stopTracing());
  const layouts = trace.traceEvents.filter(({ name, args }) => name === 'Layout' && args?.beginData?.totalObjects > 1000).map(({ args }) => args.beginData);
  console.log(`layouts for three changes: ${layouts.map(({ dirtyObjects, totalObjects }) => `${dirtyObjects} of ${totalObjects}`).join(', ')}`);
  assert.ok(layouts.length > 0);
  for (const { dirtyObjects, totalObjects } of layouts) assert.ok(dirtyObjects < totalObjects / 20, `${dirtyObjects} of ${totalObjects} objects`);
});
