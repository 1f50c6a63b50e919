// One run of MQTT.js: subscribes, publishes a list of cases, and tells what it got.
//
// Arguments: port, protocol level (4 or 5), client ID, topic prefix, lengths of payloads.
'use strict';

const { createHash } = require('node:crypto');
const mqtt = require('mqtt');

const DEADLINE = 60_000;
const [port, level, clientId, prefix, lengths] = process.argv.slice(2);
const cases = [0, 1, 2].flatMap((qos) => lengths.split(',').map((n) => [qos, Number(n)]));

function payload(length) {
  const period = Buffer.from(Array.from({ length: 256 }, (_, at) => (at * 31 + length) % 256));
  return Buffer.alloc(length, period);
}

function fail(error) {
  console.error(String(error));
  process.exit(1);
}

async function main() {
  const url = `mqtt://127.0.0.1:${port}`;
  const options = { protocolVersion: Number(level), clientId, reconnectPeriod: 0 };
  const client = await mqtt.connectAsync(url, options);
  client.on('error', fail);
  let left = cases.length;
  const all = new Promise((resolve) => {
    client.on('message', (topic, bytes, packet) => {
      const digest = createHash('sha256').update(bytes).digest('hex');
      console.log('got', topic, packet.qos, bytes.length, digest);
      left -= 1;
      if (left === 0) resolve();
    });
  });
  await client.subscribeAsync(`${prefix}/down/#`, { qos: 2 });
  console.log('ready');
  for (const [qos, length] of cases) {
    await client.publishAsync(`${prefix}/up/${qos}/${length}`, payload(length), { qos });
  }
  await all;
  await client.endAsync();
}

setTimeout(() => fail('not everything came'), DEADLINE).unref();
main().catch(fail);
