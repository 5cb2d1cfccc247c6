// Keeps tables of another database equal to continuous views, with Debezium's engine and its connector for PostgreSQL.
//
//   java -cp 'target/*:target/lib/*' Shadow SETTINGS TARGET
//
// SETTINGS is a file with properties: the text that eddy.create_publication returns, and the connection:
//
//   database.hostname=...  database.port=...  database.dbname=...  database.user=...  database.password=...
//   topic.prefix=...       slot.name=...
//
// TARGET is a URL (jdbc:postgresql:...) of a database with a table for each view, of the same schema, name and columns, and columns
// for the parts of its key that the view does not show (_key, or _key1, ...). It also needs a table for the positions of the connector:
//
//   CREATE TABLE positions (source bytea PRIMARY KEY, position bytea);
//
// The connector creates the slot and reads the rows of the views first. The events of a batch are applied in one transaction,
// together with the position of the last one, and the position is confirmed afterwards. The program can be killed at any time and
// started again; it runs until it is stopped.
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import io.debezium.engine.spi.OffsetCommitPolicy;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.util.Collection;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import org.apache.kafka.connect.runtime.WorkerConfig;
import org.apache.kafka.connect.storage.OffsetBackingStore;
import org.apache.kafka.connect.util.Callback;
import org.postgresql.core.Utils;

public class Shadow implements DebeziumEngine.ChangeConsumer<ChangeEvent<String, String>> {
    private static final ObjectMapper json = new ObjectMapper();
    private static Connection target; // in a transaction; one thread at a time uses it
    private final String prefix; // of topics

    Shadow(String prefix) {
        this.prefix = prefix + ".";
    }

    static String quote(String name) throws Exception {
        return Utils.escapeIdentifier(null, name).toString();
    }

    // The server of the target parses the values, so that numbers keep all digits.
    private static void execute(String sql, String... parameters) throws Exception {
        try (PreparedStatement statement = target.prepareStatement(sql)) {
            for (int i = 0; i < parameters.length; i++) {
                statement.setString(i + 1, parameters[i]);
            }
            statement.execute();
        }
    }

    private void apply(ChangeEvent<String, String> event) throws Exception {
        if (!event.destination().startsWith(prefix) || event.value() == null) {
            return; // a heartbeat, or the tombstone after a delete
        }
        String[] name = event.destination().substring(prefix.length()).split("[.]", 2);
        String table = quote(name[0]) + "." + quote(name[1]);
        JsonNode value = json.readTree(event.value());
        String snapshot = value.get("source").get("snapshot").asText();
        if (snapshot.equals("first") || snapshot.equals("first_in_data_collection")) {
            execute("DELETE FROM " + table); // a copy that was not completed, after which the connector starts again
        }
        String key = event.key();
        StringBuilder same = new StringBuilder("true");
        for (Iterator<String> column = json.readTree(key).fieldNames(); column.hasNext();) {
            String quoted = quote(column.next());
            same.append(" AND t.").append(quoted).append(" IS NOT DISTINCT FROM k.").append(quoted);
        }
        execute("DELETE FROM " + table + " t USING jsonb_populate_record(NULL::" + table + ", ?::jsonb) k WHERE " + same, key);
        if (!value.get("after").isNull()) {
            execute("INSERT INTO " + table + " SELECT (jsonb_populate_record(NULL::" + table + ", ?::jsonb -> 'after')).*", event.value());
        }
    }

    @Override
    public void handleBatch(List<ChangeEvent<String, String>> events, DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer)
            throws InterruptedException {
        try {
            for (ChangeEvent<String, String> event : events) {
                apply(event);
                committer.markProcessed(event);
            }
            committer.markBatchFinished(); // calls Positions.set, and then confirms the position to the server
        } catch (InterruptedException e) {
            throw e;
        } catch (Exception e) {
            throw new RuntimeException(e);
        }
    }

    // The positions of the connector, in the target: by Kafka Connect's interface, which the engine uses.
    public static class Positions implements OffsetBackingStore {
        @Override
        public Future<Map<ByteBuffer, ByteBuffer>> get(Collection<ByteBuffer> sources) {
            Map<ByteBuffer, ByteBuffer> positions = new HashMap<>();
            try (PreparedStatement statement = target.prepareStatement("SELECT source, position FROM positions");
                    ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    positions.put(ByteBuffer.wrap(rows.getBytes(1)), ByteBuffer.wrap(rows.getBytes(2)));
                }
            } catch (Exception e) {
                return CompletableFuture.failedFuture(e);
            }
            positions.keySet().retainAll(sources);
            return CompletableFuture.completedFuture(positions);
        }

        @Override
        public Future<Void> set(Map<ByteBuffer, ByteBuffer> positions, Callback<Void> callback) {
            try (PreparedStatement statement = target.prepareStatement("INSERT INTO positions VALUES (?, ?)"
                    + " ON CONFLICT (source) DO UPDATE SET position = EXCLUDED.position")) {
                for (Map.Entry<ByteBuffer, ByteBuffer> entry : positions.entrySet()) {
                    statement.setBytes(1, entry.getKey().array());
                    statement.setBytes(2, entry.getValue().array());
                    statement.execute();
                }
                target.commit(); // the events as well
            } catch (Exception e) {
                callback.onCompletion(e, null);
                return CompletableFuture.failedFuture(e);
            }
            callback.onCompletion(null, null);
            return CompletableFuture.completedFuture(null);
        }

        @Override
        public Set<Map<String, Object>> connectorPartitions(String connector) {
            return Set.of();
        }

        @Override
        public void configure(WorkerConfig config) {
        }

        @Override
        public void start() {
        }

        @Override
        public void stop() {
        }
    }

    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        try (var reader = Files.newBufferedReader(Path.of(args[0]))) {
            settings.load(reader);
        }
        settings.setProperty("name", "shadow");
        settings.setProperty("connector.class", "io.debezium.connector.postgresql.PostgresConnector");
        settings.setProperty("offset.storage", Positions.class.getName());
        settings.setProperty("converter.schemas.enable", "false");
        settings.setProperty("time.precision.mode", "isostring"); // which the target can parse

        target = DriverManager.getConnection(args[1]);
        target.setAutoCommit(false);
        DebeziumEngine<ChangeEvent<String, String>> engine = DebeziumEngine.create(Json.class)
                .using(settings)
                .using(OffsetCommitPolicy.always())
                .using((success, message, error) -> System.err.println(message))
                .notifying(new Shadow(settings.getProperty("topic.prefix")))
                .build();
        engine.run();
        System.exit(1); // after an error
    }
}
