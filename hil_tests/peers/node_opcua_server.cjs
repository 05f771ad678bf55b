// An OPC UA server of another make: an inverter and a battery that takes setpoints, with and without security.
// Usage: node node_opcua_server.cjs <folder with node_modules> <port> <scratch folder> <namespaces before ours>
// Says one JSON line when it is ready, then follows JSON lines: {"set": {name: value}} puts values,
// {"get": name} says one, {"hold": ms} blocks the server, {"trust": file} trusts the certificate of a client.
"use strict";
const fs = require("fs");
const path = require("path");
const readline = require("readline");
const [folder, port, scratch, others] = process.argv.slice(2);
const opcua = require(require.resolve("node-opcua", { paths: [folder] }));
const { DataType, MessageSecurityMode, SecurityPolicy, StatusCodes } = opcua;

const INVERTER = {
  ActivePower: ["Double", 42.5], ReactivePower: ["Double", -1.0], EnergyTotal: ["Double", 1000.25],
  State: ["Int32", 3], Irradiance: ["Double", 700.0], Heartbeat: ["UInt32", 1], ActivePowerLimit: ["Double", 100.0],
};
const BATTERY = { Mode: ["Byte", 0], Power: ["Float", 0.0], Whole: ["Int32", 0], Alive: ["Boolean", false] };

function fill(own, parent, table, writable) {
  const found = {};
  for (const [name, [type, value]] of Object.entries(table)) {
    found[name] = own.addVariable({
      componentOf: parent, browseName: name, nodeId: "s=" + name, dataType: type, minimumSamplingInterval: 20,
      accessLevel: writable ? "CurrentRead | CurrentWrite" : "CurrentRead",
      userAccessLevel: writable ? "CurrentRead | CurrentWrite" : "CurrentRead",
      value: { dataType: DataType[type], value },
    });
  }
  return found;
}

async function main() {
  const certificates = new opcua.OPCUACertificateManager({
    rootFolder: path.join(scratch, "pki"), automaticallyAcceptUnknownCertificate: false,
  });
  await certificates.initialize();
  const server = new opcua.OPCUAServer({
    port: Number(port),
    hostname: "127.0.0.1",
    resourcePath: "/pv",
    serverCertificateManager: certificates,
    userCertificateManager: certificates,
    securityModes: [MessageSecurityMode.None, MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt],
    securityPolicies: [SecurityPolicy.None, SecurityPolicy.Basic256Sha256],
    userManager: { isValidUser: (user, password) => user === "edge" && password === "of these tests" },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  for (let k = 0; k < Number(others); k++) space.registerNamespace("urn:somebody:" + k);
  const own = space.registerNamespace("urn:yunchu:simulator:pv");
  const objects = space.rootFolder.objects;
  const inverter = own.addObject({ organizedBy: objects, browseName: "Inverter" });
  const battery = own.addObject({ organizedBy: objects, browseName: "Battery" });
  const variables = { ...fill(own, inverter, INVERTER, false), ...fill(own, battery, BATTERY, true) };
  const types = { ...INVERTER, ...BATTERY };
  await server.start();

  readline.createInterface({ input: process.stdin }).on("line", async (line) => {
    const told = JSON.parse(line);
    let said = null;
    for (const [name, value] of Object.entries(told.set || {})) {
      variables[name].setValueFromSource({ dataType: DataType[types[name][0]], value }, StatusCodes.Good);
    }
    if (told.get) said = variables[told.get].readValue().value.value;
    if (told.bad) variables[told.bad].setValueFromSource({ dataType: DataType.Null }, StatusCodes.BadSensorFailure);
    if (told.trust) await certificates.trustCertificate(fs.readFileSync(told.trust));
    if (told.hold) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, told.hold);
    process.stdout.write(JSON.stringify(said) + "\n");
  }).on("close", () => process.exit(0));
  process.stdout.write(JSON.stringify({ certificate: server.certificateFile, index: own.index }) + "\n");
}

main().catch((error) => {
  process.stderr.write(String(error.stack) + "\n");
  process.exit(1);
});
