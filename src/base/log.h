/*
 * base/log - one line, one write
 *
 * Owns   the process-wide logger: level, format, target, and the context (session, plugin, hook)
 *        that stands in front of each line
 * Keep   text from outside arrives escaped: control bytes and 8-bit bytes become \xNN, a line is
 *        cut at LOG_LINE_MAX, so lines of several processes never mix (one write(2) <= PIPE_BUF)
 *        and nobody can forge one. A line that cannot be written is lost, nothing else happens (a
 *        program ignores SIGPIPE); errno is left as it was
 * Change the two formats only with their readers (t/unit/log)
 *
 * Levels are syslog's, as qpsmtpd 1.00 numbers them: 0 emergency … 7 debug.
 */
#ifndef QPSMTPD_BASE_LOG_H
#define QPSMTPD_BASE_LOG_H

#include <stdarg.h>

#include "base/str.h"

#define LOG_LINE_MAX 2048

enum log_level {
    LOG_LEVEL_EMERG,
    LOG_LEVEL_ALERT,
    LOG_LEVEL_CRIT,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

/* How the built-in target writes a line. R356 is `PID SESSION PLUGIN plugin: TEXT`, 1.00 is
 * `PID SESSION (HOOK) PLUGIN: TEXT`; outside of a session SESSION is "-". */
enum log_format { LOG_FORMAT_R356, LOG_FORMAT_100 };

struct log_event {
    enum log_level level;
    const char *session; /* NULL outside of a session */
    const char *hook;    /* NULL outside of a hook */
    const char *plugin;  /* NULL when the engine itself speaks */
    const char *text;    /* escaped, NUL-terminated, shorter than LOG_LINE_MAX */
};

/*
 * log_sink - somebody who takes the lines instead of the built-in target (the logging plugins)
 *
 * returns  false: not taken, the built-in target writes it
 * wants    the highest level the sink cares for; asked through log_sink_set
 */
typedef bool log_sink(void *data, const struct log_event *event);

void log_level_set(enum log_level level);
enum log_level log_level_get(void);
void log_format_set(enum log_format format);

/* log_to_syslog - built-in target from now on: syslog(3), facility mail; ident borrowed for ever */
void log_to_syslog(const char *ident);

/*
 * log_sink_set - sink NULL removes it: the one with this data, or with data NULL whichever there is
 *
 * Lines up to level `wants` reach the sink, whatever log_level_set said; lines above it are
 * nobody's. What the sink did not take is the built-in target's, if it is within log_level_set. A
 * line that is logged while the sink runs is dropped.
 */
void log_sink_set(log_sink *sink, void *data, enum log_level wants);

/* Context; each text is borrowed until it is replaced. NULL: none. */
void log_session_set(const char *id);
void log_plugin_set(const char *plugin, const char *hook);

/* log_shift_set - while log_plugin_set has a plugin: add shift to each level (clamped to 0..7), or,
 * when absolute >= 0, use that one (the loglevel argument of every plugin). -1 and 0: as it is */
void log_shift_set(int absolute, int shift);

bool log_wants(enum log_level level);
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_vwrite(enum log_level level, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0)));

/* Formats nothing when nobody wants it. */
#define log_at(level, ...) (log_wants(level) ? log_write(level, __VA_ARGS__) : (void)0)

/* log_line - the text of one line as the built-in target writes it, LF included.
 * returns its length, less than LOG_LINE_MAX + 256 */
size_t log_line(char *out, size_t room, const struct log_event *event, enum log_format format);

/* log_escape - copy text with control and 8-bit bytes as \xNN; always NUL-terminates.
 * returns the length written, less than room; the rest is cut */
size_t log_escape(char *out, size_t room, struct str text);

/*
 * log_level_parse - "3", "LOGERROR", "error", "err", any case; numbers above 7 are debug
 *
 * returns  false: none of these
 */
bool log_level_parse(struct str text, enum log_level *out);

#endif
