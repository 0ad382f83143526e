// The peer of Node.js in the benchmark of proxies: http-proxy as its README shows it, with kept connections.
'use strict';
const http = require('node:http');
const { createRequire } = require('node:module');
const [, , home, port, target] = process.argv;
const agent = new http.Agent({ keepAlive: true });
createRequire(`${home}/`)('http-proxy').createProxyServer({ target, agent, ws: true }).listen(Number(port), '127.0.0.1');
