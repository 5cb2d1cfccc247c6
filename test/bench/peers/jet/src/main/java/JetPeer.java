import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;

import com.hazelcast.config.Config;
import com.hazelcast.core.Hazelcast;
import com.hazelcast.core.HazelcastInstance;
import com.hazelcast.jet.aggregate.AggregateOperation;
import com.hazelcast.jet.aggregate.AggregateOperation1;
import com.hazelcast.jet.config.JobConfig;
import com.hazelcast.jet.config.ProcessingGuarantee;
import com.hazelcast.jet.core.EventTimePolicy;
import com.hazelcast.jet.core.Inbox;
import com.hazelcast.jet.core.Outbox;
import com.hazelcast.jet.core.Processor;
import com.hazelcast.jet.core.ProcessorMetaSupplier;
import com.hazelcast.jet.core.Watermark;
import com.hazelcast.jet.kafka.TopicsConfig;
import com.hazelcast.jet.kafka.impl.StreamKafkaP;
import com.hazelcast.jet.pipeline.Pipeline;
import com.hazelcast.jet.pipeline.SinkBuilder;
import com.hazelcast.jet.pipeline.Sources;
import com.hazelcast.jet.pipeline.WindowDefinition;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Hazelcast Jet, one member in this process.
 *
 * Tuned: fastjson2 reads the three fields that are used and skips the others; two instances of the
 * Kafka source and two cooperative threads; aggregation in two stages, with states of a type that is
 * serialized fast; exactly once with a snapshot every second. The open-source edition keeps
 * snapshots in the memory of the member only.
 */
public final class JetPeer {
    /** Messages of this run that have not been read. */
    private static volatile AtomicLong remaining;

    /**
     * The Kafka source of Jet, which never ends by itself: this one ends when all messages were read
     * and the messages of this instance were passed on.
     */
    static final class BoundedKafka implements Processor {
        private final StreamKafkaP<byte[], byte[], Bid> source;
        private long read, passed;

        BoundedKafka(Properties properties, String topic, EventTimePolicy<? super Bid> policy) {
            source = new StreamKafkaP<>(StreamKafkaP.kafkaConsumerFn(properties), new TopicsConfig().addTopic(topic),
                    this::project, policy);
        }

        private Bid project(ConsumerRecord<byte[], byte[]> record) {
            read++;
            remaining.decrementAndGet();
            return Bid.parse(record.value());
        }

        /** Counts the messages that are passed on. */
        private final class CountingOutbox implements Outbox {
            private final Outbox outbox;

            CountingOutbox(Outbox outbox) {
                this.outbox = outbox;
            }

            private boolean count(boolean accepted, Object item) {
                if (accepted && !(item instanceof Watermark)) {
                    passed++;
                }
                return accepted;
            }

            @Override
            public int bucketCount() {
                return outbox.bucketCount();
            }

            @Override
            public boolean offer(int ordinal, Object item) {
                return count(outbox.offer(ordinal, item), item);
            }

            @Override
            public boolean offer(int[] ordinals, Object item) {
                return count(outbox.offer(ordinals, item), item);
            }

            @Override
            public boolean offerToSnapshot(Object key, Object value) {
                return outbox.offerToSnapshot(key, value);
            }

            @Override
            public boolean hasUnfinishedItem() {
                return outbox.hasUnfinishedItem();
            }
        }

        @Override
        public void init(Outbox outbox, Context context) throws Exception {
            source.init(new CountingOutbox(outbox), context);
        }

        @Override
        public boolean complete() {
            boolean last = remaining.get() == 0;
            return source.complete() || (last && read == passed);
        }

        @Override
        public boolean isCooperative() {
            return source.isCooperative();
        }

        @Override
        public boolean tryProcessWatermark(Watermark watermark) {
            return source.tryProcessWatermark(watermark);
        }

        @Override
        public boolean saveToSnapshot() {
            return source.saveToSnapshot();
        }

        @Override
        public void restoreFromSnapshot(Inbox inbox) {
            source.restoreFromSnapshot(inbox);
        }

        @Override
        public boolean finishSnapshotRestore() {
            return source.finishSnapshotRestore();
        }

        @Override
        public void close() throws Exception {
            source.close();
        }
    }

    /** count, sum and max, in an array, which Hazelcast serializes without reflection. */
    private static final AggregateOperation1<Bid, long[], long[]> STATISTICS = AggregateOperation
            .withCreate(() -> new long[] {0, 0, Long.MIN_VALUE})
            .<Bid>andAccumulate((state, bid) -> {
                state[0]++;
                state[1] += bid.price;
                state[2] = Math.max(state[2], bid.price);
            })
            .andCombine((state, other) -> {
                state[0] += other[0];
                state[1] += other[1];
                state[2] = Math.max(state[2], other[2]);
            })
            .andExportFinish(state -> state.clone());

    private static ProcessorMetaSupplier source(String brokers, String topic, EventTimePolicy<? super Bid> policy) {
        return ProcessorMetaSupplier.of(2, () -> {
            Properties properties = new Properties();
            properties.setProperty("bootstrap.servers", brokers);
            properties.setProperty("key.deserializer", ByteArrayDeserializer.class.getName());
            properties.setProperty("value.deserializer", ByteArrayDeserializer.class.getName());
            properties.setProperty("auto.offset.reset", "earliest");
            properties.setProperty("isolation.level", "read_committed");
            properties.setProperty("max.poll.records", "5000");
            properties.setProperty("max.partition.fetch.bytes", "4194304");
            return new BoundedKafka(properties, topic, policy);
        });
    }

    private static Pipeline pipeline(String brokers, String topic) {
        Pipeline pipeline = Pipeline.create();

        pipeline.readFrom(Sources.<Bid>streamFromProcessorWithWatermarks("bids", true,
                        policy -> source(brokers, topic, policy)))
                .withTimestamps(bid -> bid.time, 4000)
                .setLocalParallelism(2)
                .groupingKey(bid -> bid.auction)
                .window(WindowDefinition.tumbling(10000))
                .aggregate(STATISTICS)
                .writeTo(SinkBuilder.sinkBuilder("results", context -> Run.current)
                        .<com.hazelcast.jet.datamodel.KeyedWindowResult<Long, long[]>>receiveFn((run, result) ->
                                run.add(result.key(), result.start(), result.result()[0], result.result()[1],
                                        result.result()[2]))
                        .build());
        return pipeline;
    }

    public static void main(String[] arguments) throws Exception {
        Run run = new Run(arguments);
        Config config = new Config();
        config.getJetConfig().setEnabled(true).setCooperativeThreadCount(2);
        config.getNetworkConfig().getJoin().getMulticastConfig().setEnabled(false);
        config.getNetworkConfig().getJoin().getAutoDetectionConfig().setEnabled(false);
        config.setProperty("hazelcast.phone.home.enabled", "false");
        HazelcastInstance member = Hazelcast.newHazelcastInstance(config);

        for (int i = 0; i < run.runs; i++) {
            remaining = new AtomicLong(run.events);
            run.begin();
            member.getJet().newJob(pipeline(run.brokers, run.topic), new JobConfig()
                    .setProcessingGuarantee(ProcessingGuarantee.EXACTLY_ONCE)
                    .setSnapshotIntervalMillis(1000)).join();
            run.end();
        }
        System.exit(0);
    }

    private JetPeer() {
    }
}
