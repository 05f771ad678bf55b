// An OPC UA server of another make: variables that change at a fixed pace, for benchmarks/opcua.py.
// Usage: node opcua_server.cjs <folder with node_modules> <port> <variables> <period ms> <scratch folder>
"use strict";
const [folder, port, count, periodMs, scratch] = process.argv.slice(2);
const path = require("path");
const { OPCUAServer, OPCUACertificateManager, Variant, DataType, StatusCodes } = require(
  require.resolve("node-opcua", { paths: [folder] })
);

async function main() {
  const certificates = new OPCUACertificateManager({ rootFolder: path.join(scratch, "pki") });
  const server = new OPCUAServer({
    port: Number(port),
    hostname: "127.0.0.1",
    resourcePath: "/bench",
    serverCertificateManager: certificates,
    userCertificateManager: certificates,
    serverCapabilities: { maxMonitoredItemsPerCall: 400, maxMonitoredItems: 100000 },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const own = space.registerNamespace("urn:yunchu:bench");
  const device = own.addObject({ organizedBy: space.rootFolder.objects, browseName: "Bench" });
  const variables = [];
  for (let k = 0; k < Number(count); k++) {
    variables.push(own.addVariable({
      componentOf: device, browseName: "V" + k, nodeId: "s=V" + k, dataType: "Double",
      minimumSamplingInterval: Number(periodMs) / 2,
    }));
  }
  // Value = number of the change, so that a client can count what never reached it. Dates in absolute
  // steps: a late timer is followed by as many changes as are due.
  let made = 0;
  const began = process.hrtime.bigint();
  function change() {
    const due = Number(process.hrtime.bigint() - began) / 1e6 / Number(periodMs);
    if (made < due) {
      made = Math.floor(due) + 1;
      for (const variable of variables) {
        variable.setValueFromSource(new Variant({ dataType: DataType.Double, value: made }), StatusCodes.Good);
      }
    }
    setTimeout(change, Math.max(0, made * Number(periodMs) - Number(process.hrtime.bigint() - began) / 1e6));
  }
  await server.start();
  change();
  process.stdout.write("ready\n");
  process.on("SIGTERM", async () => {
    await server.shutdown(0);
    process.exit(0);
  });
}

main().catch((error) => {
  process.stderr.write(String(error.stack) + "\n");
  process.exit(1);
});
