// Keeps a table of another database equal to a continuous view, with the replication stream of pgjdbc.
//
//   java -cp 'target/*:target/lib/*' Shadow SOURCE TARGET SLOT VIEW TABLE
//
// SOURCE and TARGET are URLs (jdbc:postgresql:...), VIEW is schema.name. TABLE must have the columns of the view, which
// must show its whole key. The slot must exist, with plugin pg_eddy_cdc, since before TABLE was filled from the view.
// The target needs the position of the last change that was applied:
//
//   CREATE TABLE applied (lsn pg_lsn, seq bigint); INSERT INTO applied VALUES ('0/0', 0);
//
// The records of a message are applied in one transaction, together with the position of the last one, and the position of
// the message is confirmed afterwards. The program can be killed at any time and started again; it runs until it is stopped.
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;
import org.postgresql.PGProperty;
import org.postgresql.core.Utils;
import org.postgresql.replication.LogSequenceNumber;
import org.postgresql.replication.PGReplicationStream;

public class Shadow {
    private final Connection target;
    private final String table;
    private long lsn; // of the last record that was applied, unsigned
    private long seq;

    Shadow(Connection target, String table) throws Exception {
        this.target = target;
        this.table = quote(table);
        target.setAutoCommit(false);
        try (ResultSet row = target.createStatement().executeQuery("SELECT lsn::text, seq FROM applied")) {
            row.next();
            lsn = LogSequenceNumber.valueOf(row.getString(1)).asLong();
            seq = row.getLong(2);
        }
        target.commit();
    }

    static String quote(String name) throws Exception {
        return Utils.escapeIdentifier(null, name).toString();
    }

    // The server of the target parses the values, so that numbers keep all digits.
    private void execute(String sql, String parameter) throws Exception {
        try (PreparedStatement statement = target.prepareStatement(sql)) {
            statement.setString(1, parameter);
            statement.execute();
        }
    }

    void applyRecord(String text) throws Exception {
        JsonObject record = JsonParser.parseString(text).getAsJsonObject();
        long recordLsn = LogSequenceNumber.valueOf(record.get("lsn").getAsString()).asLong();
        long recordSeq = record.get("seq").getAsLong();
        int order = Long.compareUnsigned(recordLsn, lsn);
        if (order < 0 || (order == 0 && recordSeq <= seq)) {
            return; // it was sent again
        }
        lsn = recordLsn;
        seq = recordSeq;
        String op = record.get("op").getAsString();
        if (!op.equals("c") && !op.equals("u") && !op.equals("d")) {
            return;
        }
        StringBuilder same = new StringBuilder("true");
        for (String column : record.getAsJsonObject("key").keySet()) {
            same.append(" AND t.").append(quote(column)).append(" IS NOT DISTINCT FROM k.").append(quote(column));
        }
        execute("DELETE FROM " + table + " t USING jsonb_populate_record(NULL::" + table + ", ?::jsonb -> 'key') k WHERE " + same, text);
        if (!op.equals("d")) {
            execute("INSERT INTO " + table + " SELECT (jsonb_populate_record(NULL::" + table + ", ?::jsonb -> 'after')).*", text);
        }
    }

    void apply(String message) throws Exception {
        for (String text : message.split("\n")) {
            applyRecord(text);
        }
        try (PreparedStatement statement = target.prepareStatement("UPDATE applied SET lsn = ?::pg_lsn, seq = ?")) {
            statement.setString(1, LogSequenceNumber.valueOf(lsn).asString());
            statement.setLong(2, seq);
            statement.execute();
        }
        target.commit();
    }

    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        PGProperty.ASSUME_MIN_SERVER_VERSION.set(properties, "15");
        PGProperty.REPLICATION.set(properties, "database");
        PGProperty.PREFER_QUERY_MODE.set(properties, "simple");

        Shadow shadow = new Shadow(DriverManager.getConnection(args[1]), args[4]);
        PGReplicationStream stream = DriverManager.getConnection(args[0], properties).unwrap(PGConnection.class)
            .getReplicationAPI().replicationStream().logical()
            .withSlotName(args[2])
            .withSlotOption("views", args[3])
            .withStatusInterval(1, TimeUnit.SECONDS)
            .start();
        while (true) {
            ByteBuffer message = stream.read();
            shadow.apply(StandardCharsets.UTF_8.decode(message).toString());
            stream.setAppliedLSN(stream.getLastReceiveLSN());
            stream.setFlushedLSN(stream.getLastReceiveLSN());
        }
    }
}
