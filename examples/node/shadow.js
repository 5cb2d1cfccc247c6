// Keeps a table of another database equal to a continuous view, with the plugin for wal2json of
// pg-logical-replication.
//
//   node shadow.js SOURCE TARGET SLOT VIEW TABLE
//
// SOURCE and TARGET are connection strings (URLs), VIEW is schema.name. TABLE must have the columns of the view,
// which must show its whole key. The slot must exist, with plugin pg_eddy_wal2json, since before TABLE was
// filled from the view. The target needs the position of the last transaction that was applied:
//
//   CREATE TABLE applied (lsn pg_lsn); INSERT INTO applied VALUES ('0/0');
//
// With format version 1, each message is a whole transaction. "nextlsn" is the position after it, by which
// transactions that are sent again are recognized. The program can be killed at any time and started again.
import pg from 'pg';
import { LogicalReplicationService, Wal2JsonPlugin } from 'pg-logical-replication';

const [sourceUrl, targetUrl, slot, view, table] = process.argv.slice(2);
const target = new pg.Client({ connectionString: targetUrl });
await target.connect();

const quote = (name) => `"${name.replaceAll('"', '""')}"`;
const record = (names, values) => JSON.stringify(Object.fromEntries(names.map((name, i) => [name, values[i]])));

async function apply({ nextlsn, change: changes }) {
  await target.query('BEGIN');
  const { rows } = await target.query('UPDATE applied SET lsn = $1 WHERE lsn < $1 RETURNING lsn', [nextlsn]);
  for (const change of rows.length > 0 ? changes : []) {
    if (change.oldkeys) {
      const { keynames, keyvalues } = change.oldkeys;
      const sameKey = keynames.map((name) => `t.${quote(name)} IS NOT DISTINCT FROM k.${quote(name)}`);
      await target.query(
        `DELETE FROM ${table} t USING jsonb_populate_record(NULL::${table}, $1) k WHERE ${['true', ...sameKey].join(' AND ')}`,
        [record(keynames, keyvalues)]);
    }
    if (change.kind === 'insert' || change.kind === 'update') {
      await target.query(
        `INSERT INTO ${table} SELECT (jsonb_populate_record(NULL::${table}, $1)).*`,
        [record(change.columnnames, change.columnvalues)]);
    }
  }
  await target.query('COMMIT');
}

// The service acknowledges by itself, at intervals, positions that the server could then skip: acknowledge only
// what was applied.
const service = new LogicalReplicationService({ connectionString: sourceUrl }, { acknowledge: { auto: false, timeoutSeconds: 0 } });
const plugin = new Wal2JsonPlugin({
  includeLsn: true, addTables: view, numericDataTypesAsString: true, skipEmptyXacts: true,
});

// messages are applied one after another
let queue = Promise.resolve();
service.on('data', (lsn, transaction) => {
  queue = queue.then(() => apply(transaction)).then(() => service.acknowledge(lsn));
  queue.catch((error) => { console.error(error); process.exit(1); });
});
service.on('error', (error) => { console.error(error); process.exit(1); });
await service.subscribe(plugin, slot);
