# pg_eddy: PGXS Makefile. "make help" lists the targets.
#
# This Makefile builds four shared libraries:
#   pg_eddy        the extension, which servers preload; linked with the C library only
#   pg_eddy_kafka  consuming from Kafka, with librdkafka and simdjson: loaded by source workers,
#                  and by sessions that create servers or attach sources
#   pg_eddy_cdc    the output plugin, which is small and inert, because servers list it in
#                  output_plugin_libraries
#   pg_eddy_wal2json  the output plugin for clients of wal2json, likewise

EXTENSION = pg_eddy
EXTVERSION = 0.1.0
MODULE_big = pg_eddy
KAFKA = pg_eddy_kafka
PLUGIN = pg_eddy_cdc
WAL2JSON = pg_eddy_wal2json

OBJS = \
	src/api/change_functions.o \
	src/api/copy_input.o \
	src/api/copy_stream.o \
	src/api/dead_letter_functions.o \
	src/api/fdw.o \
	src/api/guard_changes.o \
	src/api/guard_stream.o \
	src/api/guard_view.o \
	src/api/hooks.o \
	src/api/publication_functions.o \
	src/api/source_functions.o \
	src/api/stream_functions.o \
	src/api/stream_triggers.o \
	src/api/view_functions.o \
	src/apply/cascade.o \
	src/apply/close.o \
	src/apply/close_holders.o \
	src/apply/close_pace.o \
	src/apply/dead_letter.o \
	src/apply/deferred.o \
	src/apply/each_view.o \
	src/apply/event_time.o \
	src/apply/fill.o \
	src/apply/history.o \
	src/apply/late.o \
	src/apply/pipeline.o \
	src/apply/published.o \
	src/apply/reject.o \
	src/apply/seam.o \
	src/apply/statement.o \
	src/apply/stream_cache.o \
	src/apply/tick.o \
	src/apply/view_tick.o \
	src/apply/watermark.o \
	src/argument.o \
	src/broker_list.o \
	src/catalog/attempt_table.o \
	src/catalog/change_table.o \
	src/catalog/dead_letter_table.o \
	src/catalog/late_row_count_table.o \
	src/catalog/late_row_table.o \
	src/catalog/member.o \
	src/catalog/partition_table.o \
	src/catalog/source_table.o \
	src/catalog/stream_table.o \
	src/catalog/stripe.o \
	src/catalog/table.o \
	src/catalog/user_partition_table.o \
	src/catalog/view_progress_table.o \
	src/catalog/view_start_table.o \
	src/catalog/view_table.o \
	src/catalog/watermark_table.o \
	src/clock.o \
	src/kafka_library.o \
	src/local_setting.o \
	src/monotonic.o \
	src/owner.o \
	src/pg_eddy.o \
	src/relation_acl.o \
	src/relcache_watch.o \
	src/rows_since.o \
	src/settings.o \
	src/stream/append.o \
	src/stream/chunk.o \
	src/stream/omit.o \
	src/stream/pages.o \
	src/stream/prepare.o \
	src/stream/register.o \
	src/stream/rotate.o \
	src/stream/row_data.o \
	src/stream/segment.o \
	src/stream/shape.o \
	src/stream/sync.o \
	src/stream/write.o \
	src/view/aggregate_distinct.o \
	src/view/aggregate_exact_sum.o \
	src/view/aggregate_first.o \
	src/view/aggregate_percentile.o \
	src/view/aggregate_top_k.o \
	src/view/analyze.o \
	src/view/batch_aggregate.o \
	src/view/bisect.o \
	src/view/calendar.o \
	src/view/chain.o \
	src/view/chain_combine.o \
	src/view/change_keep.o \
	src/view/change_log.o \
	src/view/change_read.o \
	src/view/changes.o \
	src/view/closing.o \
	src/view/collect.o \
	src/view/collect_delete.o \
	src/view/collect_merge.o \
	src/view/collect_query.o \
	src/view/collect_values.o \
	src/view/combine.o \
	src/view/combining_layout.o \
	src/view/deferred_delete.o \
	src/view/deferred_read.o \
	src/view/define.o \
	src/view/delta.o \
	src/view/delta_plan.o \
	src/view/delta_sort.o \
	src/view/direct.o \
	src/view/emit_every.o \
	src/view/empty_sets.o \
	src/view/event_window.o \
	src/view/flatten.o \
	src/view/fold.o \
	src/view/followers.o \
	src/view/function.o \
	src/view/group_cache.o \
	src/view/group_lock.o \
	src/view/grouping.o \
	src/view/keep.o \
	src/view/key_gap.o \
	src/view/kind.o \
	src/view/kind_append.o \
	src/view/kind_collected.o \
	src/view/kind_combining.o \
	src/view/kind_deferred.o \
	src/view/kind_distinct_on.o \
	src/view/kind_panes.o \
	src/view/kind_retracting.o \
	src/view/kind_session.o \
	src/view/label.o \
	src/view/late_pairs.o \
	src/view/lock_streams.o \
	src/view/layer.o \
	src/view/layout.o \
	src/view/maintain.o \
	src/view/mark_row.o \
	src/view/merge.o \
	src/view/merge_rows.o \
	src/view/name.o \
	src/view/net_change.o \
	src/view/objects.o \
	src/view/old_row.o \
	src/view/pack.o \
	src/view/pane_call.o \
	src/view/pane_close.o \
	src/view/pane_read.o \
	src/view/pane_scan.o \
	src/view/pane_sums.o \
	src/view/pane_work.o \
	src/view/panes.o \
	src/view/plan.o \
	src/view/publication.o \
	src/view/pure.o \
	src/view/quick.o \
	src/view/refuse.o \
	src/view/replace.o \
	src/view/replace_check.o \
	src/view/row_bytes.o \
	src/view/row_id.o \
	src/view/row_number.o \
	src/view/scan.o \
	src/view/send_rows.o \
	src/view/session.o \
	src/view/session_emit.o \
	src/view/session_late.o \
	src/view/session_write.o \
	src/view/set_returning.o \
	src/view/signature.o \
	src/view/source_columns.o \
	src/view/state_table.o \
	src/view/suspend.o \
	src/view/trial.o \
	src/view/ttl.o \
	src/view/union.o \
	src/view/upgrade.o \
	src/view/upsert.o \
	src/view/upsert_write.o \
	src/view/window.o \
	src/worker/database.o \
	src/worker/evict.o \
	src/worker/flush.o \
	src/worker/launcher.o \
	src/worker/process.o \
	src/worker/restore.o \
	src/worker/shared_state.o \
	src/worker/slots.o \
	src/worker/wakeup.o

KAFKA_OBJS = \
	src/decode/decode.o \
	src/decode/formats.o \
	src/decode/json.o \
	src/decode/json_shim.o \
	src/decode/json_tree.o \
	src/decode/json_walk.o \
	src/decode/lexical.o \
	src/decode/value.o \
	src/decode/value_number.o \
	src/decode/value_time.o \
	src/kafka/client.o \
	src/kafka/connection.o \
	src/kafka/errors.o \
	src/kafka/fetch.o \
	src/kafka/inquiry.o \
	src/kafka/probe.o \
	src/kafka/properties.o \
	src/kafka/query.o \
	src/kafka/resolve.o \
	src/pg_eddy_kafka.o \
	src/worker/attempt.o \
	src/worker/bad_message.o \
	src/worker/batch.o \
	src/worker/catch_up.o \
	src/worker/catch_up_batch.o \
	src/worker/catch_up_reader.o \
	src/worker/definition.o \
	src/worker/idle.o \
	src/worker/mapping.o \
	src/worker/pace.o \
	src/worker/pace_rule.o \
	src/worker/partitions.o \
	src/worker/progress.o \
	src/worker/replay.o \
	src/worker/rows.o \
	src/worker/source_worker.o \
	src/worker/start.o

PLUGIN_OBJS = \
	src/cdc/debezium.o \
	src/cdc/emit.o \
	src/cdc/encoding.o \
	src/cdc/in_progress.o \
	src/cdc/initial_rows.o \
	src/cdc/json_writer.o \
	src/cdc/known_views.o \
	src/cdc/message.o \
	src/cdc/native.o \
	src/cdc/net.o \
	src/cdc/option_list.o \
	src/cdc/plugin.o \
	src/cdc/plugin_options.o \
	src/cdc/progress_record.o \
	src/cdc/relation.o \
	src/cdc/row_json.o \
	src/cdc/upsert_format.o \
	src/cdc/view_filter.o \
	src/cdc/view_label.o \
	src/cdc/view_row.o

# the version, which some records have
$(PLUGIN_OBJS): override CPPFLAGS += -DEDDY_VERSION='"$(EXTVERSION)"'

# pg_eddy_wal2json contains the files that recognize views, and their changes, as well
WAL2JSON_OBJS = \
	src/wal2json/action_record.o \
	src/wal2json/callbacks.o \
	src/wal2json/changeset.o \
	src/wal2json/table_text.o \
	src/wal2json/value_text.o \
	src/wal2json/w2j_options.o
WAL2JSON_CDC_OBJS = \
	src/cdc/encoding.o \
	src/cdc/json_writer.o \
	src/cdc/known_views.o \
	src/cdc/message.o \
	src/cdc/option_list.o \
	src/cdc/relation.o \
	src/cdc/view_filter.o \
	src/cdc/view_label.o \
	src/cdc/view_row.o

# A file that is not in these lists would silently be missing from its library.
UNLISTED = $(filter-out $(OBJS) $(KAFKA_OBJS) $(PLUGIN_OBJS) $(WAL2JSON_OBJS),$(addsuffix .o,$(basename \
	$(wildcard src/*.c src/*/*.c src/*/*.cc))))
ifneq ($(UNLISTED),)
$(if $(filter true,$(CI)),$(error not in OBJS: $(UNLISTED)),$(warning not in OBJS: $(UNLISTED)))
endif

# The source of the install script has the same name for all versions, so that its history is continuous.
DATA_built = sql/$(EXTENSION)--$(EXTVERSION).sql
DATA = $(filter-out $(DATA_built),$(wildcard sql/$(EXTENSION)--*.sql))

REGRESS := $(sort $(patsubst sql/%.sql,%,$(foreach file,$(wildcard sql/*.sql),\
	$(if $(findstring --,$(file)),,$(filter-out sql/$(EXTENSION).sql,$(file))))))
# the extension exists before each test file, in any order of the files
REGRESS_OPTS = --load-extension=$(EXTENSION)
ISOLATION := $(sort $(patsubst test/specs/%.spec,%,$(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --load-extension=$(EXTENSION)
# The TAP tests start private servers and a private broker: "make test" runs them,
# "make installcheck" runs them only with TAP_TESTS=1.
PROVE_TESTS = test/t/*.pl

WARNINGS = -Wall -Wextra
# gcc warns about variables around PG_TRY that are never read after a longjmp; clang does not
WARNINGS += $(if $(findstring clang,$(shell $(CC) --version)),,-Wno-clobbered)
ifeq ($(CI),true)
WARNINGS += -Werror
endif

# The server's headers are system headers, so that warnings are limited to pg_eddy's code.
PG_CPPFLAGS = -Isrc -isystem $(includedir_server) -MMD -MP
PG_CFLAGS = $(WARNINGS) -Wno-declaration-after-statement
PG_CXXFLAGS = $(WARNINGS) -std=c++17 -O3
KAFKA_LINK = -lrdkafka -lsimdjson -lstdc++

EXTRA_CLEAN = test/bench/peers/*/target $(KAFKA)$(DLSUFFIX) $(PLUGIN)$(DLSUFFIX) $(WAL2JSON)$(DLSUFFIX) $(KAFKA_OBJS) \
	$(PLUGIN_OBJS) $(WAL2JSON_OBJS) $(OBJS:.o=.d) $(KAFKA_OBJS:.o=.d) $(PLUGIN_OBJS:.o=.d) \
	$(WAL2JSON_OBJS:.o=.d) build output_iso test/output_iso test/tmp_check

# No bitcode: inlining functions of pg_eddy into JIT-compiled expressions would not make them faster.
override with_llvm = no

# pg_config of the newest server-dev package when none is in the PATH
PG_CONFIG ?= $(firstword $(shell command -v pg_config) \
	$(shell ls -d /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | sort -rV) pg_config)
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifneq ($(wildcard $(PGXS)),)

all: $(KAFKA).so $(PLUGIN).so $(WAL2JSON).so
include $(PGXS)

install: install-libraries
uninstall: uninstall-libraries

else

all install uninstall installcheck clean $(KAFKA).so $(PLUGIN).so $(WAL2JSON).so:
	@echo "pg_eddy: the development files of the PostgreSQL server are missing" >&2
	@echo "  (asked \"$(PG_CONFIG) --pgxs\"$(if $(PGXS),: no file $(PGXS)))." >&2
	@echo "On Debian \"scripts/setup build\" installs the packages for a build: the compiler," >&2
	@echo "postgresql-server-dev-NN for your server, librdkafka-dev, libsimdjson-dev." >&2
	@echo "For another installation of PostgreSQL use make PG_CONFIG=/path/to/pg_config." >&2
	@exit 1

endif

$(DATA_built): sql/$(EXTENSION).sql
	cp $< $@

# pg_eddy_kafka calls functions of pg_eddy, so these are visible, as they are up to PostgreSQL 15.
$(OBJS): override CFLAGS += -fvisibility=default

# Code that runs for each field of each message, and for each row of a batch.
HOT_OBJS = $(filter src/decode/%,$(KAFKA_OBJS)) src/api/copy_input.o src/stream/row_data.o src/view/batch_aggregate.o
$(HOT_OBJS): override CFLAGS += -O3

# Both libraries contain a checksum of the headers.
HEADERS = $(wildcard src/*.h src/*/*.h)
src/kafka_library.o src/pg_eddy_kafka.o: $(HEADERS)
src/kafka_library.o src/pg_eddy_kafka.o: override CPPFLAGS += \
	-DEDDY_BUILD='"$(EXTVERSION)-$(shell cat $(HEADERS) | cksum | cut -d' ' -f1)"'

# The linker cannot check that the functions that it calls exist in the server and in pg_eddy.
$(KAFKA)$(DLSUFFIX): $(KAFKA_OBJS) $(MODULE_big)$(DLSUFFIX)
	$(CC) $(CFLAGS) -shared -o $@ $(KAFKA_OBJS) $(LDFLAGS) $(LDFLAGS_SL) -Wl,-Bsymbolic $(KAFKA_LINK)
	@test/check_symbols $(MODULE_big)$(DLSUFFIX) $@ || { rm -f $@; exit 1; }

# A process can load both plugins, with global symbols up to PostgreSQL 15: each must call its own
# functions, of which some have the same names.
$(PLUGIN)$(DLSUFFIX): $(PLUGIN_OBJS)
	$(CC) $(CFLAGS) -shared -o $@ $(PLUGIN_OBJS) $(LDFLAGS) $(LDFLAGS_SL) -Wl,-Bsymbolic
	@test/check_symbols $@ || { rm -f $@; exit 1; }

$(WAL2JSON)$(DLSUFFIX): $(WAL2JSON_OBJS) $(WAL2JSON_CDC_OBJS)
	$(CC) $(CFLAGS) -shared -o $@ $(WAL2JSON_OBJS) $(WAL2JSON_CDC_OBJS) $(LDFLAGS) $(LDFLAGS_SL) \
		-Wl,-Bsymbolic
	@test/check_symbols $@ || { rm -f $@; exit 1; }

LIBRARIES = $(KAFKA)$(DLSUFFIX) $(PLUGIN)$(DLSUFFIX) $(WAL2JSON)$(DLSUFFIX)

install-libraries: $(LIBRARIES) installdirs
	$(INSTALL_SHLIB) $(LIBRARIES) '$(DESTDIR)$(pkglibdir)/'

uninstall-libraries:
	rm -f $(addprefix '$(DESTDIR)$(pkglibdir)'/, $(LIBRARIES))

-include $(wildcard $(OBJS:.o=.d) $(KAFKA_OBJS:.o=.d) $(PLUGIN_OBJS:.o=.d) $(WAL2JSON_OBJS:.o=.d))

# Programs of the tests, the benchmark and the demo; they need no server files.
TOOLS = build/eddy-kafka-tool build/eddy-load build/eddy-mock-broker build/eddy-hiccups
TOOL_CFLAGS = -O2 -g -std=gnu99 $(WARNINGS)

build/eddy-kafka-tool: $(wildcard test/kafka/tool/*.[ch])
	mkdir -p build
	$(CC) $(TOOL_CFLAGS) -o $@ $(filter %.c,$^) -lrdkafka -lpthread -lm

build/eddy-load: test/oracle/load.c
	mkdir -p build
	$(CC) $(TOOL_CFLAGS) -o $@ $< -lrdkafka -lpthread -lm

build/eddy-mock-broker: test/kafka/mock_broker.c
	mkdir -p build
	$(CC) $(TOOL_CFLAGS) -o $@ $< -lrdkafka -lpthread

build/eddy-hiccups: test/bench/hiccups.c
	mkdir -p build
	$(CC) $(TOOL_CFLAGS) -o $@ $< -lpthread

tools: $(TOOLS)

# These targets install required packages.
test:
	@test/run $(T)

# N definitions of continuous views, from SEED on
random:
	@EDDY_RANDOM_VIEWS='$(N)' EDDY_RANDOM_SEED='$(SEED)' test/run 064_random_views

test-clients:
	@EDDY_CLIENTS=1 test/run 036_examples 036_debezium

demo:
	@BROKER='$(BROKER)' BROKERS='$(BROKERS)' demo/run

sanitize:
	@test/sanitize/run $(T)

fuzz:
	@test/fuzz/run $(T) $(SECONDS)

bench:
	@test/bench/run

bench-all:
	@PG_CONFIG='$(PG_CONFIG)' test/bench/run all

bench-cdc:
	@PG_CONFIG='$(PG_CONFIG)' test/bench/run cdc

bench-cost:
	@PG_CONFIG='$(PG_CONFIG)' test/bench/run cost --check

bench-writes:
	@PG_CONFIG='$(PG_CONFIG)' test/bench/run writes

check-includes:
	@test/check_includes

check-messages:
	@test/check_messages

check-names:
	@test/check_names

# for the scripts: the value of a variable
print-%:
	@echo "$($*)"

help:
	@echo "make                 builds pg_eddy, pg_eddy_kafka, pg_eddy_cdc and pg_eddy_wal2json"
	@echo "make install         installs them, as the owner of the PostgreSQL installation"
	@echo "make installcheck    runs pg_regress and isolation tests on a running server with pg_eddy"
	@echo "make test            runs all tests on private servers and a broker; installs required packages"
	@echo "make test T=name     runs one suite (unit, regress, isolation, tap) or one test"
	@echo "make random N=5000   compares N random views with their SELECT; SEED=n repeats a run"
	@echo "make test-clients    runs the tests of all examples of consumers, also those that are built first or need a browser"
	@echo "make sanitize        runs the tests on a server built with assertions and AddressSanitizer"
	@echo "make fuzz            fuzzes the decoder, the writers of JSON and the SQL functions, each for one minute, or SECONDS=n"
	@echo "make demo            demonstrates the pipeline from Kafka to a CDC consumer; installs required packages"
	@echo "  ... BROKER=kafka           uses Apache Kafka instead of a mock broker"
	@echo "  ... BROKERS=host:port      uses an existing broker"
	@echo "make bench           measures throughput on Nexmark bids, also of a hand-written equivalent"
	@echo "make bench-all       measures everything else, and other stream processors: about an hour"
	@echo "make bench-cdc       measures the CPU time of decoding, also of other output plugins"
	@echo "make bench-cost      measures the instructions that watermarks and closing windows cost"
	@echo "make bench-writes    measures what views cost users' statements, also of hand-written triggers"
	@echo "make check-includes  checks the direction of includes between the folders of src/"
	@echo "make check-messages  checks that docs/sql-reference.md lists all refusals, functions and arguments"
	@echo "make check-names     checks that files and functions that comments and docs/internals.md name exist"
	@echo "make clean           removes built files"

.PHONY: all install install-libraries uninstall-libraries tools test test-clients random sanitize fuzz demo bench bench-all \
	bench-cdc bench-cost bench-writes check-includes check-messages check-names help
