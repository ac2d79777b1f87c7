/*
 * milter protocol - the letters and bits of milter protocol 6
 *
 * Owns   the numbers on the wire, as libmilter/mfdef.h of Sendmail has them
 * Keep   numbers only: what they mean to a message is milter.c's, what they look like is packet.c's
 */
#ifndef MILTER_PROTOCOL_H
#define MILTER_PROTOCOL_H

#include <stdint.h>

#define MILTER_VERSION     6
#define MILTER_VERSION_MIN 2
#define MILTER_DATA_MAX    65535 /* bytes behind the letter of a packet, in both directions */

/* What we say. */
enum milter_command {
    MILTER_ABORT = 'A',
    MILTER_BODY = 'B',
    MILTER_CONNECT = 'C',
    MILTER_MACROS = 'D',
    MILTER_END = 'E',
    MILTER_HELO = 'H',
    MILTER_QUIT_KEEP = 'K', /* another client follows on this connection */
    MILTER_HEADER = 'L',
    MILTER_MAIL = 'M',
    MILTER_HEADERS_END = 'N',
    MILTER_OFFER = 'O',
    MILTER_QUIT = 'Q',
    MILTER_RCPT = 'R',
    MILTER_DATA = 'T',
    MILTER_UNKNOWN = 'U',
};

/* What the milter says; the offer has the same letter as ours. */
enum milter_answer {
    MILTER_ADD_RCPT = '+',
    MILTER_DELETE_RCPT = '-',
    MILTER_ADD_RCPT_PARAMS = '2',
    MILTER_SHUTDOWN = '4',
    MILTER_ACCEPT = 'a',
    MILTER_REPLACE_BODY = 'b',
    MILTER_CONTINUE = 'c',
    MILTER_DISCARD = 'd',
    MILTER_CHANGE_SENDER = 'e',
    MILTER_CONNECTION_FAIL = 'f',
    MILTER_ADD_FIELD = 'h',
    MILTER_INSERT_FIELD = 'i',
    MILTER_MACRO_LIST = 'l',
    MILTER_CHANGE_FIELD = 'm',
    MILTER_PROGRESS = 'p',
    MILTER_QUARANTINE = 'q',
    MILTER_REJECT = 'r',
    MILTER_SKIP = 's',
    MILTER_TEMPFAIL = 't',
    MILTER_REPLY_CODE = 'y',
};

/* Edits that a milter says it will ask for. */
#define MILTER_ACTIONS 0x1ffU

/* Steps that it does not want (NO), those that it does not answer (QUIET), and the rest. */
enum milter_steps {
    MILTER_NO_CONNECT = 0x1,
    MILTER_NO_HELO = 0x2,
    MILTER_NO_MAIL = 0x4,
    MILTER_NO_RCPT = 0x8,
    MILTER_NO_BODY = 0x10,
    MILTER_NO_HEADER = 0x20,
    MILTER_NO_HEADERS_END = 0x40,
    MILTER_QUIET_HEADER = 0x80,
    MILTER_NO_UNKNOWN = 0x100,
    MILTER_NO_DATA = 0x200,
    MILTER_CAN_SKIP = 0x400,
    MILTER_REFUSED_RCPT = 0x800, /* it wants to hear of refused recipients, too */
    MILTER_QUIET_CONNECT = 0x1000,
    MILTER_QUIET_HELO = 0x2000,
    MILTER_QUIET_MAIL = 0x4000,
    MILTER_QUIET_RCPT = 0x8000,
    MILTER_QUIET_DATA = 0x10000,
    MILTER_QUIET_UNKNOWN = 0x20000,
    MILTER_QUIET_HEADERS_END = 0x40000,
    MILTER_QUIET_BODY = 0x80000,
    MILTER_LEADING_BLANK = 0x100000, /* field values with the blank behind the colon */
};
#define MILTER_STEPS 0x1fffffU

/* Where macros are sent: the numbers of a macro list. */
enum milter_stage {
    MILTER_AT_CONNECT,
    MILTER_AT_HELO,
    MILTER_AT_MAIL,
    MILTER_AT_RCPT,
    MILTER_AT_DATA,
    MILTER_AT_END,
    MILTER_AT_HEADERS_END,
    MILTER_STAGES,
};

#endif
