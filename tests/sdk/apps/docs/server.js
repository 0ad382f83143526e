// An app as the docs assume it: it has the health endpoint that they print (`health.js`), takes the port of its
// environment, or else 3000 or the next free one as dev servers do, and takes DRAIN_MS to end on request.
const fs = require('node:fs');
const http = require('node:http');

const routes = {
  '/env': (request, response) => response.json(process.env),
  '/crash': () => process.exit(3),
};
const app = { get: (path, handler) => { routes[path] = handler; } };
if (fs.existsSync('health.js')) new Function('app', fs.readFileSync('health.js', 'utf8'))(app);

const server = http.createServer((request, response) => {
  response.setHeader('Connection', 'close');
  response.status = (code) => Object.assign(response, { statusCode: code });
  response.json = (value) => response.end(JSON.stringify(value));
  const handler = routes[request.url] ?? ((_, answer) => answer.end('hello'));
  handler(request, response);
});

process.on('SIGTERM', () => {
  console.log('SIGTERM: closing');
  setTimeout(() => process.exit(0), Number(process.env.DRAIN_MS ?? 0));
});

let port = Number(process.env.PORT ?? 3000);
server.on('error', (error) => {
  if (error.code !== 'EADDRINUSE' || process.env.PORT) throw error;
  server.listen(++port);
});
server.on('listening', () => {
  console.log(`listening on ${port}`);
  console.error('a line on stderr');
});
server.listen(port);
