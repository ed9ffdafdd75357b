// Tells whoever started this program, by one line of JSON on standard output, that it accepts connections and where.
export function reportListening(server) {
  console.log(JSON.stringify({ port: server.address().port }));
}

// A setting from the environment; without a default it has to be there.
export function setting(name, fallback) {
  const value = process.env[name] ?? fallback;
  if (value === undefined) throw new Error(`set ${name}`);
  return value;
}
