import java.nio.ByteBuffer;
import java.time.Duration;
import java.time.Instant;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.TimestampExtractor;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.ReadOnlyWindowStore;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Kafka Streams with exactly_once_v2, as many threads as the machine has CPUs, and RocksDB.
 *
 * The bids are not keyed by auction, so they pass through an internal topic. When the last bid has
 * been aggregated, the results are read from the window stores, and what is measured ends with the
 * last commit. The grace period is an hour, because the partitions of the internal topic are not in
 * order: with the 4 seconds of the other peers, rows would be dropped as late.
 */
public final class StreamsPeer {
    /** The event time of a bid, which is deserialized before. */
    public static final class BidTime implements TimestampExtractor {
        @Override
        public long extract(ConsumerRecord<Object, Object> record, long partitionTime) {
            return record.value() instanceof Bid bid ? bid.time : record.timestamp();
        }
    }

    private static Serde<long[]> statisticsSerde() {
        Serializer<long[]> serializer = (topic, state) -> state == null ? null
                : ByteBuffer.allocate(24).putLong(state[0]).putLong(state[1]).putLong(state[2]).array();
        Deserializer<long[]> deserializer = (topic, bytes) -> {
            if (bytes == null) {
                return null;
            }
            ByteBuffer buffer = ByteBuffer.wrap(bytes);
            return new long[] {buffer.getLong(), buffer.getLong(), buffer.getLong()};
        };
        return Serdes.serdeFrom(serializer, deserializer);
    }

    public static void main(String[] arguments) throws Exception {
        Run run = new Run(arguments);

        for (int i = 0; i < run.runs; i++) {
            AtomicLong remaining = new AtomicLong(run.events);
            CountDownLatch done = new CountDownLatch(1);
            Serde<Bid> bids = Serdes.serdeFrom((topic, bid) -> null, (topic, json) -> Bid.parse(json));
            StreamsBuilder builder = new StreamsBuilder();

            builder.stream(run.topic, Consumed.with(Serdes.ByteArray(), bids).withTimestampExtractor(new BidTime()))
                    .map((key, bid) -> KeyValue.pair(bid.auction, bid.price))
                    .groupByKey(Grouped.with(Serdes.Long(), Serdes.Long()))
                    .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofHours(1)))
                    .aggregate(() -> new long[] {0, 0, Long.MIN_VALUE}, (auction, price, state) -> {
                        if (remaining.decrementAndGet() == 0) {
                            done.countDown();
                        }
                        return new long[] {state[0] + 1, state[1] + price, Math.max(state[2], price)};
                    }, Materialized.<Long, long[], WindowStore<Bytes, byte[]>>as("statistics")
                            .withKeySerde(Serdes.Long()).withValueSerde(statisticsSerde())
                            .withRetention(Duration.ofDays(1)));

            Properties properties = new Properties();
            properties.put(StreamsConfig.APPLICATION_ID_CONFIG,
                    "streams-" + ProcessHandle.current().pid() + "-" + (i + 1));
            properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, run.brokers);
            properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
            properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Runtime.getRuntime().availableProcessors());
            properties.put(StreamsConfig.STATE_DIR_CONFIG, run.directory + "/state");
            properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L << 20);
            properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
            properties.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
            properties.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 5000);
            properties.put(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 4194304);
            run.begin();
            KafkaStreams streams = new KafkaStreams(builder.build(), properties);
            streams.start();
            if (!done.await(600, TimeUnit.SECONDS)) {
                System.err.println("the peer has not come to the end: " + remaining + " bids are missing");
                System.exit(1);
            }
            ReadOnlyWindowStore<Long, long[]> store = streams.store(StoreQueryParameters.fromNameAndType(
                    "statistics", QueryableStoreTypes.windowStore()));
            try (KeyValueIterator<Windowed<Long>, long[]> rows = store.fetchAll(Instant.EPOCH,
                    Instant.parse("2100-01-01T00:00:00Z"))) {
                while (rows.hasNext()) {
                    KeyValue<Windowed<Long>, long[]> row = rows.next();
                    run.add(row.key.key(), row.key.window().start(), row.value[0], row.value[1], row.value[2]);
                }
            }
            streams.close(); // commits
            run.end();
            streams.cleanUp();
        }
        System.exit(0);
    }

    private StreamsPeer() {
    }
}
