import com.alibaba.fastjson2.JSONReader;
import com.alibaba.fastjson2.util.Fnv;

/** The fields of a bid that are used. */
public final class Bid {
    private static final long AUCTION = Fnv.hashCode64("auction");
    private static final long PRICE = Fnv.hashCode64("price");
    private static final long DATE_TIME = Fnv.hashCode64("date_time");

    /** The time is in milliseconds since 1970. */
    public long auction, price, time;

    /** Reads the three fields, and skips the others. */
    public static Bid parse(byte[] json) {
        Bid bid = new Bid();

        try (JSONReader reader = JSONReader.of(json)) {
            reader.nextIfObjectStart();
            while (!reader.nextIfObjectEnd()) {
                long field = reader.readFieldNameHashCode();
                if (field == AUCTION) {
                    bid.auction = reader.readInt64Value();
                } else if (field == PRICE) {
                    bid.price = reader.readInt64Value();
                } else if (field == DATE_TIME) {
                    bid.time = IsoTime.parse(reader.readString());
                } else {
                    reader.skipValue();
                }
            }
        }
        return bid;
    }
}
