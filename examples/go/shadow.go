// Keeps a table of another database equal to a continuous view, with pgx and pglogrepl.
//
//	go run . SOURCE TARGET SLOT VIEW TABLE
//
// SOURCE and TARGET are connection strings, VIEW is schema.name. TABLE must have the columns of the view,
// which must show its whole key. The slot must exist, with plugin pg_eddy_cdc, since before TABLE was filled
// from the view. The target needs the position of the last change that was applied:
//
//	CREATE TABLE applied (lsn pg_lsn, seq bigint); INSERT INTO applied VALUES ('0/0', 0);
//
// The records of a message are applied in one transaction, together with the position of the last one, and
// the position of the message is confirmed afterwards. The program can be killed at any time and started again;
// it runs until it is stopped.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// record has the fields of a record that decide how it is applied. The server of the target parses the values, so
// that numbers keep all digits.
type record struct {
	Op  string                     `json:"op"`
	LSN string                     `json:"lsn"`
	Seq int64                      `json:"seq"`
	Key map[string]json.RawMessage `json:"key"`
}

type shadow struct {
	target *pgx.Conn
	table  string
	lsn    pglogrepl.LSN // of the last record that was applied
	seq    int64
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// apply applies the records of one message that were not applied before.
func (s *shadow) apply(ctx context.Context, message []byte) error {
	tx, err := s.target.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	for _, text := range bytes.Split(message, []byte("\n")) {
		var r record
		if err := json.Unmarshal(text, &r); err != nil {
			return err
		}
		lsn, err := pglogrepl.ParseLSN(r.LSN)
		if err != nil {
			return err
		}
		if lsn < s.lsn || (lsn == s.lsn && r.Seq <= s.seq) {
			continue // it was sent again
		}
		s.lsn, s.seq = lsn, r.Seq
		if r.Op != "c" && r.Op != "u" && r.Op != "d" {
			continue
		}
		same := []string{"true"}
		for column := range r.Key {
			name := pgx.Identifier{column}.Sanitize()
			same = append(same, fmt.Sprintf("t.%s IS NOT DISTINCT FROM k.%s", name, name))
		}
		if _, err := tx.Exec(ctx, fmt.Sprintf(
			"DELETE FROM %s t USING jsonb_populate_record(NULL::%s, $1::jsonb -> 'key') k WHERE %s",
			s.table, s.table, strings.Join(same, " AND ")), string(text)); err != nil {
			return err
		}
		if r.Op != "d" {
			if _, err := tx.Exec(ctx, fmt.Sprintf(
				"INSERT INTO %s SELECT (jsonb_populate_record(NULL::%s, $1::jsonb -> 'after')).*",
				s.table, s.table), string(text)); err != nil {
				return err
			}
		}
	}
	if _, err := tx.Exec(ctx, "UPDATE applied SET lsn = $1::text::pg_lsn, seq = $2", s.lsn.String(), s.seq); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

func main() {
	if len(os.Args) != 6 {
		log.Fatal("usage: shadow SOURCE TARGET SLOT VIEW TABLE")
	}
	source, target, slot, view, table := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	ctx := context.Background()

	s := shadow{table: pgx.Identifier{table}.Sanitize()}
	var err error
	s.target, err = pgx.Connect(ctx, target)
	check(err)
	var lsn string
	check(s.target.QueryRow(ctx, "SELECT lsn::text, seq FROM applied").Scan(&lsn, &s.seq))
	s.lsn, err = pglogrepl.ParseLSN(lsn)
	check(err)

	config, err := pgconn.ParseConfig(source)
	check(err)
	config.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(ctx, config)
	check(err)
	check(pglogrepl.StartReplication(ctx, conn, slot, 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{fmt.Sprintf("\"views\" '%s'", strings.ReplaceAll(view, "'", "''"))},
	}))

	var confirmed pglogrepl.LSN
	for {
		wait, cancel := context.WithTimeout(ctx, time.Second)
		message, err := conn.ReceiveMessage(wait)
		cancel()
		if err != nil && !pgconn.Timeout(err) {
			log.Fatal(err)
		}
		if failure, ok := message.(*pgproto3.ErrorResponse); ok {
			log.Fatal(pgconn.ErrorResponseToPgError(failure))
		}
		if data, ok := message.(*pgproto3.CopyData); ok && data.Data[0] == pglogrepl.XLogDataByteID {
			xlog, err := pglogrepl.ParseXLogData(data.Data[1:])
			check(err)
			check(s.apply(ctx, xlog.WALData))
			confirmed = xlog.WALStart
		}
		// also without a message, so that the server does not close the connection
		check(pglogrepl.SendStandbyStatusUpdate(ctx, conn, pglogrepl.StandbyStatusUpdate{WALWritePosition: confirmed}))
	}
}
