import java.io.BufferedWriter;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.ConcurrentLinkedQueue;

/**
 * One run of a peer: its measurements, and its result rows.
 *
 * Arguments of all peers: BROKERS TOPIC EVENTS RUNS DIRECTORY. The job runs RUNS times in the same
 * process, because the first runs include the compilation of the code. After each one a line of JSON
 * is printed: seconds from the submission of the job to the end of all windows, CPU seconds of the
 * whole process, that is, with garbage collection, compilation and snapshots, peak memory in kB, and
 * the file with the result rows. Nothing is subtracted.
 */
public final class Run {
    /** The arguments. */
    public final String brokers, topic, directory;
    public final long events;
    public final int runs;

    private int number;
    private long start, cpu;
    private ConcurrentLinkedQueue<String> rows;

    /** The run of this process; sinks that a framework creates by itself have no other access. */
    public static volatile Run current;

    public Run(String[] arguments) {
        if (arguments.length != 5) {
            System.err.println("arguments: BROKERS TOPIC EVENTS RUNS DIRECTORY");
            System.exit(2);
        }
        brokers = arguments[0];
        topic = arguments[1];
        events = Long.parseLong(arguments[2]);
        runs = Integer.parseInt(arguments[3]);
        directory = arguments[4];
        current = this;
    }

    private static long cpuTime() {
        return ((com.sun.management.OperatingSystemMXBean)
                ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    private static long peakMemory() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", ""));
            }
        }
        return 0;
    }

    /** Starts the clock. */
    public void begin() {
        number++;
        rows = new ConcurrentLinkedQueue<>();
        cpu = cpuTime();
        start = System.nanoTime();
    }

    public int number() {
        return number;
    }

    /** Receives a final result row; windowStart is in milliseconds since 1970. */
    public void add(long auction, long windowStart, long bids, long total, long top) {
        rows.add(auction + "\t" + windowStart + "\t" + bids + "\t" + total + "\t" + top);
    }

    /** Stops the clock, prints the measurements and writes the result rows. */
    public void end() throws IOException {
        double seconds = (System.nanoTime() - start) / 1e9;
        double used = (cpuTime() - cpu) / 1e9;
        Path file = Path.of(directory, "run-" + number + ".tsv");

        try (BufferedWriter out = Files.newBufferedWriter(file)) {
            for (String row : rows) {
                out.write(row);
                out.write('\n');
            }
        }
        System.out.printf(Locale.ROOT, "{\"run\": %d, \"seconds\": %.3f, \"cpu\": %.3f, \"memory\": %d, \"rows\": %d,"
                + " \"file\": \"%s\"}%n", number, seconds, used, peakMemory(), rows.size(), file);
        System.out.flush();
    }
}
