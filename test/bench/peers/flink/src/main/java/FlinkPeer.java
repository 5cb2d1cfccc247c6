import java.io.IOException;

import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.functions.ScalarFunction;
import org.apache.flink.types.Row;

/**
 * Flink SQL, in a local cluster of this process.
 *
 * Tuned: only the three columns that are used are declared, because the source decodes all declared
 * ones; the time is read as a string and converted by a function, because the conversion of
 * flink-json is as expensive as the rest of its decoding; large fetches; two slots; objects reused;
 * state on the heap; checkpoints every second, exactly once, in files.
 */
public final class FlinkPeer {
    /** Converts an ISO time. */
    public static class IsoTimestamp extends ScalarFunction {
        @DataTypeHint(value = "TIMESTAMP(3)", bridgedTo = TimestampData.class)
        public TimestampData eval(@DataTypeHint(value = "STRING", bridgedTo = StringData.class) StringData text) {
            return TimestampData.fromEpochMillis(IsoTime.parse(text.toString()));
        }
    }

    /** Receives the results in this process. */
    public static class Results implements Sink<Row> {
        @Override
        public SinkWriter<Row> createWriter(WriterInitContext context) {
            return new SinkWriter<>() {
                @Override
                public void write(Row row, Context context) {
                    Run.current.add((Long) row.getField(0), (Long) row.getField(1), (Long) row.getField(2),
                            (Long) row.getField(3), (Long) row.getField(4));
                }

                @Override
                public void flush(boolean endOfInput) throws IOException {
                }

                @Override
                public void close() {
                }
            };
        }
    }

    private static final String SOURCE = """
            CREATE TABLE bid (auction BIGINT, price BIGINT, date_time STRING, ts AS iso_timestamp(date_time),
                              WATERMARK FOR ts AS ts - INTERVAL '4' SECOND)
            WITH ('connector' = 'kafka', 'topic' = '%s', 'properties.bootstrap.servers' = '%s',
                  'format' = 'json', 'scan.startup.mode' = 'earliest-offset',
                  'scan.bounded.mode' = 'latest-offset', 'properties.isolation.level' = 'read_committed',
                  'properties.max.poll.records' = '5000', 'properties.max.partition.fetch.bytes' = '4194304')
            """;

    private static final String QUERY = """
            SELECT auction, TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', window_start) * CAST(1000 AS BIGINT),
                   COUNT(*), SUM(price), MAX(price)
            FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND))
            GROUP BY auction, window_start, window_end
            """;

    public static void main(String[] arguments) throws Exception {
        Run run = new Run(arguments);

        for (int i = 0; i < run.runs; i++) {
            Configuration settings = new Configuration();
            settings.setString("parallelism.default", "2");
            settings.setString("pipeline.object-reuse", "true");
            settings.setString("state.backend.type", "hashmap");
            settings.setString("execution.checkpointing.interval", "1s");
            settings.setString("execution.checkpointing.mode", "EXACTLY_ONCE");
            settings.setString("execution.checkpointing.storage", "filesystem");
            settings.setString("execution.checkpointing.dir", "file://" + run.directory + "/checkpoints");
            run.begin();
            StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(settings);
            StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
            tables.getConfig().set("table.local-time-zone", "UTC");
            tables.createTemporarySystemFunction("iso_timestamp", IsoTimestamp.class);
            tables.executeSql(String.format(SOURCE, run.topic, run.brokers));
            Table result = tables.sqlQuery(QUERY);
            tables.toDataStream(result).sinkTo(new Results());
            environment.execute();
            run.end();
        }
        System.exit(0);
    }

    private FlinkPeer() {
    }
}
