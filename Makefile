# qpsmtpd: build, tests, installation. `make help` lists the targets.
#
# Sources are found by wildcard: a new plugin, module or test edits no list. What a plugin links
# besides libc is one line below "plugins". Objects go to build/; a sanitizer build
# (SAN=address,undefined) has a whole tree of its own below build/, so that variants never mix.

VERSION := 1.0.0

# ---- variables that users set ----------------------------------------------------------------------

PREFIX     = /usr/local
SYSCONFDIR = $(if $(filter /usr,$(PREFIX)),/etc,$(PREFIX)/etc)
DESTDIR    =
CFLAGS    ?=# come last on every line, so they win: make CFLAGS=-O0
LDFLAGS   ?=
WERROR     = -Werror# empty it for a compiler that warns of other things than gcc 12 and clang 14 do
SAN        =# sanitizers, as -fsanitize= takes them; see "fuzzing" for SAN=fuzzer
Q          = @# make Q= shows the commands
NAME       =# of the plugin that `make plugin` writes
TEST_JOBS  = 2
PROVE_FLAGS =
BENCH      =# options of t/bench/run.pl
FUZZ_SECONDS =# how long `make fuzz` runs each target; empty: it only builds them

sbindir    = $(PREFIX)/sbin
libdir     = $(PREFIX)/lib
includedir = $(PREFIX)/include
datadir    = $(PREFIX)/share
mandir     = $(datadir)/man
plugindir  = $(libdir)/qpsmtpd/plugins
configdir  = $(SYSCONFDIR)/qpsmtpd

# ---- what is built with what -----------------------------------------------------------------------

# A fresh clone builds on all cores without being asked; -j on the command line wins over this.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif

comma := ,

# OUT is where programs and plugins appear: at the root of the tree, where users look for them, or in
# the tree of the variant. QPSMTPD_BUILD tells the tests.
ifeq ($(SAN),)
BUILD := build/plain
OUT   :=
else
BUILD := build/$(subst address-undefined,asan,$(subst $(comma),-,$(SAN:fuzzer=fuzz)))
OUT   := $(BUILD)/
endif

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
    -Wwrite-strings -Wconversion -Wformat=2 -Wundef -Wvla -Wimplicit-fallthrough -Wcast-qual

# Control-flow protection is spelt differently by each processor, and refused by the others.
MACHINE := $(shell uname -m)
CF      := $(if $(filter x86_64 i%86,$(MACHINE)),-fcf-protection,$(if \
    $(filter aarch64,$(MACHINE)),-mbranch-protection=standard))

# FORTIFY needs an optimizing compiler, and hides from the sanitizers what they are there to find.
FORTIFY := $(if $(SAN)$(filter -O0,$(CFLAGS)),,-D_FORTIFY_SOURCE=2)
HARDEN  := -fstack-protector-strong -fstack-clash-protection $(CF) -U_FORTIFY_SOURCE $(FORTIFY)

# "fuzzer" stands for libFuzzer with the other two: its main() is linked into the targets only.
SANITIZE := $(if $(SAN),-fsanitize=$(if \
    $(filter fuzzer,$(SAN)),fuzzer-no-link$(comma)address$(comma)undefined,$(SAN)) \
    -fno-sanitize-recover=all -fno-omit-frame-pointer)

# A program links the whole engine, and leaves out what it does not call.
SECTIONS := -ffunction-sections -fdata-sections

ROOTS    := -Iinclude -Isrc
DEFINES   = -D_GNU_SOURCE -DQPSMTPD_VERSION='"$(VERSION)"' \
    -DQPSMTPD_PLUGIN_DIR='"$(plugindir)"' -DQPSMTPD_CONFIG_DIR='"$(configdir)"'
PLACE    := -fPIE
FLAGS     = -std=c17 $(DEFINES) $(ROOTS) $(CPPFLAGS) $(WARNINGS) $(WERROR) -O2 -g $(HARDEN) $(SECTIONS) \
    $(SANITIZE) $(PLACE) $(CFLAGS)

# Symbols are bound when the program starts, and what was bound is made read-only.
LINK      = $(CC) $(SANITIZE) $(CFLAGS) $(LDFLAGS) -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
# Programs export what exports.list says: plugins find the public API there, and nothing else.
EXPORTS  := src/plugin/exports.list
LINK_EXE  = $(LINK) -pie -Wl,--gc-sections,--dynamic-list=$(EXPORTS)
# A process for each client loads every plugin: two segments are mapped in half the time of four.
LINK_SO   = $(LINK) -shared -nostartfiles -Wl,-z,noseparate-code,--build-id=sha1
LIBS     :=# what servers need besides libc they load when it is needed: base/library.h

sources    = $(wildcard $(1)/*.c $(1)/*/*.c $(1)/*/*/*.c)
objects    = $(patsubst %.c,$(BUILD)/%.o,$(1))

MAINS     := src/server/qpsmtpd.c src/server/prefork.c src/server/table.c
# libcmph is linked by the program that compiles lists; those that read them do without.
BUILDER   := src/conf/mph_build.c src/conf/mph_output.c src/conf/mph_shard.c src/server/table_compile.c
ENGINE    := $(filter-out $(MAINS) $(BUILDER),$(call sources,src))
ENGINE_O  := $(call objects,$(ENGINE))
# A plugin of several files: NAME.c and all of NAME.parts/*.c become one NAME.so.
PARTS_C   := $(wildcard plugins/*.parts/*.c plugins/*/*.parts/*.c)
# NAME.late/*.c become NAME.late.so, which the plugin NAME loads when somebody needs it: qp_late().
LATE_C    := $(wildcard plugins/*.late/*.c plugins/*/*.late/*.c)
PLUGINS_C := $(filter-out $(PARTS_C) $(LATE_C),$(call sources,plugins))
UNIT_C    := $(wildcard t/unit/*.c)
FUZZ_C    := $(filter-out t/fuzz/replay.c,$(wildcard t/fuzz/*.c))

# The usual plugins, which stand in standard.so once more: see src/plugin/standard.h. Not with sanitizers,
# who take the second copy of an object for a mistake, nor where objects hold no machine code.
STANDARD  := $(if $(SAN)$(findstring -flto,$(CFLAGS)),,tls check_relay check_earlytalker \
    count_unrecognized_commands check_spamhelo check_badmailfrom check_badmailfromto check_badrcptto \
    rcpt_ok check_basicheaders virus/klez_filter queue/maildir queue/qmail-queue)

PROGRAMS  := $(OUT)qpsmtpd $(OUT)qpsmtpd-prefork $(OUT)qpsmtpd-table
PLUGINS   := $(patsubst %.c,$(OUT)%.so,$(PLUGINS_C))
STANDARD_SO := $(if $(STANDARD),$(OUT)plugins/standard.so)
LATE      := $(sort $(patsubst %.late/,$(OUT)%.late.so,$(dir $(LATE_C))))
UNIT      := $(patsubst %.c,$(BUILD)/%,$(UNIT_C))
REPLAY    := $(patsubst %.c,$(BUILD)/%,$(FUZZ_C))
FUZZERS   := $(patsubst t/fuzz/%.c,$(BUILD)/%,$(FUZZ_C))

all: $(PROGRAMS) $(PLUGINS) $(LATE) $(STANDARD_SO) ## build ./qpsmtpd, ./qpsmtpd-prefork, ./qpsmtpd-table and plugins/**/*.so
.DEFAULT_GOAL := all

# A half-written file looks up to date; and objects between a source and a test are worth keeping.
.DELETE_ON_ERROR:
.SECONDARY:
FORCE:
.PHONY: all FORCE

# ---- help ------------------------------------------------------------------------------------------

.PHONY: help version
help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
	    awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'
	@echo
	@echo "  Variables: PREFIX SYSCONFDIR DESTDIR CC CFLAGS LDFLAGS WERROR SAN TEST_JOBS PROVE_FLAGS"

version: ## print the version
	@echo $(VERSION)

# ---- programs --------------------------------------------------------------------------------------

# Each stamp holds what its name says and is written only when that has changed: other flags, another
# compiler or another set of sources rebuild what they concern.
stamp = @mkdir -p $(@D); printf '%s\n' '$(subst ','\'',$(1))' | cmp -s - $@ || \
	printf '%s\n' '$(subst ','\'',$(1))' >$@

$(BUILD)/flags: FORCE
	$(call stamp,$(CC) $(FLAGS))
$(BUILD)/objects: FORCE
	$(call stamp,$(LINK_EXE) $(LIBS) $(ENGINE_O))

# -MMD writes which headers an object was made of; -MP lets a header be deleted.
$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	@echo '  compile  $<'
	$(Q)$(CC) $(FLAGS) -MMD -MP -c -o $@ $<
-include $(patsubst %.o,%.d,$(call objects,$(MAINS) $(BUILDER) $(ENGINE) $(PLUGINS_C) $(PARTS_C) $(LATE_C) $(UNIT_C) $(FUZZ_C) \
    t/fuzz/replay.c))

define link_exe
@echo '  link     $@'
$(Q)$(LINK_EXE) -o $@ $(filter %.o,$^) $(1) $(LIBS) $(LDLIBS)
endef

$(OUT)qpsmtpd: $(BUILD)/src/server/qpsmtpd.o
$(OUT)qpsmtpd-prefork: $(BUILD)/src/server/prefork.o
$(OUT)qpsmtpd-table: $(BUILD)/src/server/table.o $(call objects,$(BUILDER))
$(OUT)qpsmtpd-table: LDLIBS += -lcmph
$(PROGRAMS): $(ENGINE_O) $(BUILD)/objects $(EXPORTS)
	$(call link_exe)

# ---- plugins ---------------------------------------------------------------------------------------

# A plugin that needs a library says so here, in one line:
$(OUT)plugins/tls.late.so: LDLIBS += -lssl -lcrypto
$(OUT)plugins/auth/auth_ldap_bind.late.so: LDLIBS += -lldap -llber
$(OUT)plugins/auth/sasldb.so: LDLIBS += -lsasl2
$(OUT)plugins/ident/geoip.so: LDLIBS += -lmaxminddb -lm
$(OUT)plugins/uribl.so: LDLIBS += -lpsl
$(OUT)plugins/http_config.so: LDLIBS += -lcurl
$(OUT)plugins/rspamd.late.so: LDLIBS += -lcurl -ljansson -lm
# What they share.
$(OUT)plugins/http_config.so $(OUT)plugins/rspamd.late.so: $(BUILD)/plugins/http.parts/http.o
$(OUT)plugins/http_config.so $(OUT)plugins/rspamd.so: $(BUILD)/plugins/http.parts/url.o
$(OUT)plugins/queue/qmail-queue.so $(OUT)plugins/queue/pipe.so $(OUT)plugins/queue/exim-bsmtp.so: \
    $(BUILD)/plugins/queue/program.parts/program.o
$(OUT)plugins/queue/smtp-forward.so $(OUT)plugins/queue/lmtp.so: \
    $(call objects,$(filter plugins/queue/nexthop.parts/%,$(PARTS_C)))

# It sees the public headers only. private: these values are not for what the object depends on.
$(BUILD)/plugins/%.o: private ROOTS := -Iinclude
$(BUILD)/plugins/%.o: private PLACE := -fPIC -fvisibility=hidden

$(OUT)plugins/%.so: $(BUILD)/plugins/%.o
	@mkdir -p $(@D)
	@echo '  plugin   $@'
	$(Q)$(LINK_SO) -o $@ $^ $(LDLIBS)
$(LATE): $(OUT)plugins/%.late.so:
	@mkdir -p $(@D)
	@echo '  late     $@'
	$(Q)$(LINK_SO) -o $@ $^ $(LDLIBS)
$(foreach p,$(LATE_C),$(eval $(OUT)$(patsubst %.late/,%.late.so,$(dir $(p))): $(BUILD)/$(p:.c=.o)))
$(foreach p,$(PARTS_C),$(eval $(OUT)$(patsubst %.parts/,%.so,$(dir $(p))): $(BUILD)/$(p:.c=.o)))

# Each plugin becomes one object whose only global symbol has the plugin's name; the table tells by which
# build id the host knows it.
standard_symbol = qp_plugin_$(subst /,_,$(subst -,_,$(1)))
STANDARD_O := $(STANDARD:%=$(BUILD)/standard/%.o)

$(STANDARD_O): $(BUILD)/standard/%.o: $(BUILD)/plugins/%.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -r -nostdlib -o $@ $^
	$(Q)objcopy --localize-hidden --redefine-sym qp_plugin=$(call standard_symbol,$*) $@
$(foreach p,$(PARTS_C),$(eval $(BUILD)/standard/$(patsubst plugins/%.parts/,%.o,$(dir $(p))): $(BUILD)/$(p:.c=.o)))
$(BUILD)/standard/queue/qmail-queue.o: $(BUILD)/plugins/queue/program.parts/program.o

$(BUILD)/standard/table.c: $(STANDARD:%=$(OUT)plugins/%.so)
	@mkdir -p $(@D)
	@{ echo '#include "plugin/standard.h"'; \
	    for p in $(foreach p,$(STANDARD),$(call standard_symbol,$(p))); do echo "extern const struct qp_plugin $$p;"; done; \
	    echo 'const struct standard_plugin qp_standard[] = {'; \
	    $(foreach p,$(STANDARD),echo "{\"$$(readelf -n $(OUT)plugins/$(p).so | sed -n 's/.*Build ID: //p')\",&$(call standard_symbol,$(p))},";) \
	    echo '{"", NULL}};'; } >$@
$(BUILD)/standard/table.o: $(BUILD)/standard/table.c $(BUILD)/flags src/plugin/standard.h
	$(Q)$(CC) $(FLAGS) -fPIC -c -o $@ $<
$(STANDARD_SO): $(STANDARD_O) $(BUILD)/standard/table.o
	@echo '  plugins  $@'
	$(Q)$(LINK_SO) -Wl,-Bsymbolic -o $@ $^

.PHONY: plugin
plugin: ## NAME=x (or queue/x): write a new plugin with its test and manual page
	@t/lib/new-plugin '$(subst ','\'',$(NAME))'

# ---- serve -----------------------------------------------------------------------------------------

# Files are where config.sample/ says; relative names there mean this directory. exec: Ctrl-C and a
# signal to this process reach the server and nobody between.
.PHONY: serve
serve: all ## serve SMTP on 127.0.0.1:2525 into ./Maildir, with config.sample
	@umask 077; mkdir -p Maildir/cur Maildir/new Maildir/tmp
	@umask 077; spool=$$(sed -n '/^[^#]/{p;q}' config.sample/spool_dir 2>/dev/null); \
	    [ -z "$$spool" ] || mkdir -p "$$spool"
	@plugins/tls_cert config.sample
	@exec ./qpsmtpd-prefork -C config.sample -P plugins -l 127.0.0.1 -p 2525 --user "$$(id -un)"

# ---- tests -----------------------------------------------------------------------------------------

# A unit test is a program, linked with the whole engine; so is a fuzz target, which in `make test`
# replays its corpus. See t/lib/Qpsmtpd/Test.pm for the tests in Perl.
$(UNIT): $(BUILD)/t/unit/%: $(BUILD)/t/unit/%.o $(ENGINE_O) $(BUILD)/objects $(EXPORTS)
	$(call link_exe,-lcmocka)
$(REPLAY): $(BUILD)/t/fuzz/%: $(BUILD)/t/fuzz/%.o $(BUILD)/t/fuzz/replay.o $(ENGINE_O) \
    $(BUILD)/objects $(EXPORTS)
	$(call link_exe)
$(FUZZERS): $(BUILD)/%: $(BUILD)/t/fuzz/%.o $(ENGINE_O) $(BUILD)/objects
	$(call link_exe,-fsanitize=fuzzer)

# What writes compiled lists, and what reads them.
$(BUILD)/t/unit/mph $(BUILD)/t/unit/list: $(call objects,$(BUILDER))
$(BUILD)/t/unit/mph $(BUILD)/t/unit/list: LDLIBS += -lcmph

# For t/bench/table.sh, which also says which packages it needs.
$(BUILD)/t/bench/table $(BUILD)/t/bench/functions: $(BUILD)/t/bench/%: $(BUILD)/t/bench/%.o $(ENGINE_O) \
    $(BUILD)/objects $(EXPORTS)
	$(call link_exe,-llmdb -lcmph)

# What t/bench/run.pl runs beside the daemon.
BENCH_TOOLS := $(addprefix build/bench/,load disk sink qqdrop)
$(BENCH_TOOLS): build/bench/%: $(BUILD)/t/bench/%.o
	@mkdir -p $(@D)
	@echo '  link     $@'
	$(Q)$(LINK) -pie -o $@ $<
$(BUILD)/t/bench/backlog.o: private PLACE := -fPIC
build/bench/backlog.so: $(BUILD)/t/bench/backlog.o
	@mkdir -p $(@D)
	$(Q)$(LINK_SO) -o $@ $<

# Of the parts of plugins, those that are tested alone, without a session around them.
$(BUILD)/t/unit/spf $(BUILD)/t/fuzz/spf $(BUILD)/spf: \
    $(call objects,$(filter plugins/sender_permitted_from.parts/%,$(PARTS_C)))
$(BUILD)/t/fuzz/smtp_reply $(BUILD)/smtp_reply: $(BUILD)/plugins/queue/nexthop.parts/reply.o
$(BUILD)/t/fuzz/smtp_text $(BUILD)/smtp_text: $(BUILD)/plugins/queue/nexthop.parts/text.o
$(BUILD)/t/fuzz/uribl $(BUILD)/uribl: $(call objects,$(filter plugins/uribl.parts/%,$(PARTS_C)))
$(BUILD)/t/fuzz/ldap_template $(BUILD)/ldap_template: \
    $(BUILD)/plugins/auth/auth_ldap_bind.parts/template.o
$(BUILD)/t/fuzz/bsmtp $(BUILD)/bsmtp: \
    $(call objects,$(filter plugins/queue/exim-bsmtp.parts/%,$(PARTS_C)))
$(BUILD)/t/unit/postfix_records: \
    $(call objects,$(filter plugins/queue/postfix-queue.parts/%,$(PARTS_C)))
$(BUILD)/t/fuzz/spamassassin $(BUILD)/spamassassin: $(BUILD)/plugins/spamassassin.parts/answer.o
$(BUILD)/t/fuzz/scanner $(BUILD)/scanner: $(BUILD)/plugins/virus/scanner.parts/product.o \
    $(BUILD)/plugins/virus/clamdscan.parts/answer.o
$(BUILD)/t/fuzz/milter $(BUILD)/milter: $(call objects,plugins/milter.parts/packet.c)
$(BUILD)/t/fuzz/url $(BUILD)/url: $(BUILD)/plugins/http.parts/url.o
$(BUILD)/t/fuzz/rspamd $(BUILD)/rspamd: $(BUILD)/plugins/rspamd.late/reply.o
$(BUILD)/t/fuzz/rspamd $(BUILD)/rspamd: LDLIBS += -ljansson -lm

# t/lint looks at sources: once is enough, in the plain build.
T_LINT   := $(if $(SAN),,$(wildcard t/lint/*.t))
T_PLUGIN := $(wildcard t/plugin/*.t t/plugin/*/*.t)
T_SYSTEM := $(wildcard t/system/*.t)
T_PEERS  := $(wildcard t/peers/*.t)

# Sanitizers cost time: TEST_SLOW stretches every time limit of the tests.
prove = @QPSMTPD_BUILD='$(abspath $(BUILD:build/plain=.))' QPSMTPD_SAN='$(SAN)' \
	TEST_SLOW=$${TEST_SLOW:-$(if $(SAN),4,1)} \
	ASAN_OPTIONS=$${ASAN_OPTIONS:-detect_stack_use_after_return=1} \
	UBSAN_OPTIONS=$${UBSAN_OPTIONS:-print_stacktrace=1} \
	prove -j$(TEST_JOBS) -It/lib $(PROVE_FLAGS) $(1) </dev/null
# prove takes "no tests" for a failure.
prove_any = $(if $(strip $(1)),$(call prove,$(1)),@echo "$@: there are no such tests")

.PHONY: test test-unit test-plugin test-system test-peers asan
test: all $(UNIT) $(REPLAY) ## run every test (light packages only)
	$(call prove_any,$(UNIT) $(REPLAY) $(T_LINT) $(T_PLUGIN) $(T_SYSTEM))
test-unit: $(UNIT) $(REPLAY) ## unit tests and fuzz corpora only
	$(call prove_any,$(UNIT) $(REPLAY))
test-plugin: all ## the tests of the plugins only
	$(call prove_any,$(T_PLUGIN))
test-system: all ## whole daemons and real clients only
	$(call prove_any,$(T_SYSTEM))
test-peers: all ## against heavy real peers: t/peers/*.t, and what they need is installed
	$(call prove_any,$(T_PEERS))

# The same Makefile again: a variant is a value of SAN for all of it.
asan: ## build with ASan and UBSan, and run every test on that
	@$(MAKE) --no-print-directory SAN=address,undefined test

# ---- measuring -------------------------------------------------------------------------------------

# Takes half an hour and wants the machine for itself; options: see there.
.PHONY: bench
bench: all $(BENCH_TOOLS) build/bench/backlog.so ## how fast it is, beside a sink and other servers; BENCH='--rounds 1'
	@perl t/bench/run.pl $(BENCH)

# ---- lint ------------------------------------------------------------------------------------------

# One stamp per source and tool, made after its object: so only what has changed is looked at again.
LINT_C   := $(MAINS) $(BUILDER) $(ENGINE) $(PLUGINS_C) $(PARTS_C) $(LATE_C)
LINT_O   := $(call objects,$(LINT_C))
TIDY     := $(LINT_O:.o=.tidy)
ANALYZED := $(LINT_O:.o=.analyzed)
C_FILES  := $(foreach d,src plugins t,$(call sources,$(d))) \
    $(wildcard include/*/*.h src/*/*.h src/*/*/*.h plugins/*/*.h t/*/*.h)

.PHONY: lint format
lint: $(TIDY) $(ANALYZED) $(BUILD)/cppcheck all ## clang-tidy, cppcheck, gcc -fanalyzer, t/lint: all clean
	$(call prove_any,$(wildcard t/lint/*.t))
	@echo "lint: clean"

$(BUILD)/%.tidy: $(BUILD)/%.o .clang-tidy
	@echo '  tidy     $*.c'
	$(Q)clang-tidy --quiet $*.c -- $(FLAGS)
	@touch $@
# -fanalyzer is gcc's, whatever CC is.
$(BUILD)/%.analyzed: $(BUILD)/%.o
	@echo '  analyze  $*.c'
	$(Q)gcc $(FLAGS) -fanalyzer -c -o /dev/null $*.c
	@touch $@

$(BUILD)/cppcheck: $(LINT_O) t/lint/cppcheck.supp
	@echo '  cppcheck'
	$(Q)cppcheck --quiet -j2 --std=c11 --enable=warning,performance,portability \
	    --inline-suppr --suppressions-list=t/lint/cppcheck.supp --error-exitcode=1 \
	    $(ROOTS) $(DEFINES) -D__linux__ $(LINT_C)
	@touch $@

format: ## lay out all C files by .clang-format
	clang-format -i $(C_FILES)

# ---- fuzzing ---------------------------------------------------------------------------------------

.PHONY: fuzz fuzzers
fuzz: ## build libFuzzer programs build/fuzz/NAME; FUZZ_SECONDS=n runs each that long
	@$(MAKE) --no-print-directory CC=clang SAN=fuzzer fuzzers

fuzzers: $(FUZZERS)
	@for f in $(FUZZERS); do \
	    corpus=t/fuzz/corpus/$${f##*/}; found=$$f.found; mkdir -p $$found; \
	    run="$$f -artifact_prefix=$$found/ $$found $$(test ! -d $$corpus || echo $$corpus)"; \
	    if [ -n '$(FUZZ_SECONDS)' ]; then \
	        echo "$$run"; $$run -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 || exit 1; \
	    else echo "run: $$run"; fi; \
	done

# ---- install ---------------------------------------------------------------------------------------

# SOURCE:DESTINATION of everything that is installed; uninstall removes exactly these. The manual of
# plugins/queue/maildir is qpsmtpd-queue-maildir(7): its own name alone could be anybody's.
share        = $(datadir)/qpsmtpd
same_name    = $(foreach f,$(1),$(f):$(2)/$(notdir $(f)))
same_path    = $(foreach f,$(1),$(f):$(2)/$(f))
plugin_page  = $(foreach f,$(1),$(f):$(2)/qpsmtpd-$(subst /,-,$(f:plugins/%=%)))
pages        = $(wildcard include/*/*.$(1) src/*/*.$(1) src/*/*/*.$(1))
CONFIG_FILES = $(shell find config.sample -path config.sample/ssl -prune -o \
    -type f ! -name '.*' -print 2>/dev/null)

INSTALL_PROGRAMS = $(call same_name,$(PROGRAMS),$(sbindir)) \
    $(call same_path,$(wildcard run log/run),$(share)) \
    plugins/tls_cert:$(share)/tls_cert
# auth/authnull lets everybody in: it serves the tests, and stays where they are.
INSTALLABLE     := $(filter-out plugins/auth/authnull.c,$(PLUGINS_C))
INSTALL_PLUGINS  = $(foreach p,$(INSTALLABLE:plugins/%.c=%.so) $(LATE:$(OUT)plugins/%=%),\
    $(OUT)plugins/$(p):$(plugindir)/$(p)) $(STANDARD_SO:%=%:$(plugindir)/standard.so)
INSTALL_DATA     = $(call same_name,$(wildcard include/qpsmtpd/*.h),$(includedir)/qpsmtpd) \
    $(foreach n,3 5 7 8,$(call same_name,$(call pages,$(n)),$(mandir)/man$(n))) \
    $(call plugin_page,$(wildcard $(INSTALLABLE:.c=.7)),$(mandir)/man7) \
    $(BUILD)/qpsmtpd.pc:$(libdir)/pkgconfig/qpsmtpd.pc \
    $(call same_path,$(CONFIG_FILES) $(addprefix t/lib/Qpsmtpd/,Test.pm DNS.pm Peer.pm),$(share))
INSTALLED        = $(INSTALL_PROGRAMS) $(INSTALL_PLUGINS) $(INSTALL_DATA)
OUR_DIRS         = $(libdir)/qpsmtpd $(includedir)/qpsmtpd $(share)

install_files = @for f in $(1); do \
	install -D -m $(2) "$${f%%:*}" "$(DESTDIR)$${f\#*:}" || exit 1; done

.PHONY: install uninstall clean
install: all $(BUILD)/qpsmtpd.pc ## to DESTDIR/PREFIX: programs, plugins, headers, manuals, samples
	$(call install_files,$(INSTALL_PROGRAMS),755)
	$(call install_files,$(INSTALL_PLUGINS) $(INSTALL_DATA),644)

uninstall: ## remove what install has put there, nothing else
	@for f in $(INSTALLED); do rm -f "$(DESTDIR)$${f#*:}"; done
	@for d in $(OUR_DIRS); do \
	    [ ! -d "$(DESTDIR)$$d" ] || find "$(DESTDIR)$$d" -depth -type d -empty -delete; done

# For plugin authors: cc -shared -fPIC $$(pkg-config --cflags qpsmtpd) -o x.so x.c
define PC
prefix=$(PREFIX)
includedir=$(includedir)
plugindir=$(plugindir)
configdir=$(configdir)
testlibdir=$(share)/t/lib

Name: qpsmtpd
Description: headers for plugins of the qpsmtpd mail receiving daemon
Version: $(VERSION)
Cflags: -I$${includedir}
endef
$(BUILD)/qpsmtpd.pc: $(BUILD)/flags FORCE
	$(file >$@,$(PC))

clean: ## remove everything that was built
	rm -rf build qpsmtpd qpsmtpd-prefork qpsmtpd-table $(PLUGINS_C:.c=.so) $(LATE) $(STANDARD_SO)

# ---- packages that are needed ----------------------------------------------------------------------

# PACKAGE:PROBE, where PROBE is the command or header that it is wanted for (.ci/need).
BUILD_DEPS := gcc libc6-dev:stdio.h make libc-ares-dev:ares.h libcmph-dev:cmph.h libpcre2-dev:pcre2.h \
    libsasl2-dev:sasl/sasl.h libsasl2-2:- libsasl2-modules:- libpsl-dev:libpsl.h \
    libmaxminddb-dev:maxminddb.h libssl-dev:openssl/ssl.h openssl \
    libcurl4-openssl-dev:curl/curl.h libjansson-dev:jansson.h libldap-dev:ldap.h \
    libmariadb-dev:mariadb/mysql.h libpq-dev:postgresql/libpq-fe.h libsasl2-modules-db:-
TEST_DEPS  := binutils:nm libcmocka-dev:cmocka.h perl:prove swaks msmtp curl ucspi-tcp:tcpserver \
    daemontools:multilog tinycdb:cdb dnsmasq-base:dnsmasq iproute2:ip mandoc procps:ps pkg-config \
    libauthen-sasl-perl:- libdigest-hmac-perl:- libio-socket-ssl-perl:- openssl gnutls-bin:gnutls-cli strace valgrind
LINT_DEPS  := clang-format clang-tidy cppcheck
# Without a probe: gcc's own headers of these names would satisfy one.
FUZZ_DEPS  := clang libclang-rt-14-dev:-
# A test in t/peers names its packages in a line "# Packages: postfix:postconf dovecot-core".
PEER_DEPS  := $(if $(T_PEERS),$(shell sed -n 's/^\# Packages: *//p' $(T_PEERS)))

.PHONY: deps deps-build deps-test deps-lint deps-fuzz deps-peers
deps: deps-lint ## install what serve, test, asan and lint need (as root or by sudo)
deps-build:
	@.ci/need $(BUILD_DEPS)
deps-test:
	@.ci/need $(BUILD_DEPS) $(TEST_DEPS)
deps-lint:
	@.ci/need $(BUILD_DEPS) $(TEST_DEPS) $(LINT_DEPS)
deps-fuzz:
	@.ci/need $(BUILD_DEPS) $(FUZZ_DEPS)
deps-peers:
	@.ci/need $(BUILD_DEPS) $(TEST_DEPS) $(PEER_DEPS)

# Goals that promise to bring what they need get it before the first object is compiled; `make`
# alone never installs anything.
deps_of = $(if $(filter $(1),$(MAKECMDGOALS)),$(2))
$(BUILD)/flags: | $(call deps_of,serve,deps-build) \
    $(call deps_of,test test-unit test-plugin test-system,deps-test) \
    $(call deps_of,test-peers,deps-peers) $(call deps_of,lint,deps-lint) \
    $(call deps_of,fuzzers,deps-fuzz)
