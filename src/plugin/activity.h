/*
 * plugin/activity - which plugin is running now, readable from another process
 *
 * Owns   nothing: the memory is the scoreboard's slot, or a static one under tcpserver
 * Keep   written by one process, read by the listener after that process has died; plain bytes, no
 *        pointers, because the listener may have reloaded its plugins since
 */
#ifndef QPSMTPD_PLUGIN_ACTIVITY_H
#define QPSMTPD_PLUGIN_ACTIVITY_H

#include <stdint.h>

#define ACTIVITY_PLUGIN 48

struct activity {
    char plugin[ACTIVITY_PLUGIN]; /* as in config/plugins, cut; "" between hooks */
    char hook[24];
    char session[12]; /* id of the session; "" when idle */
    char encrypted;   /* the client would read a plain last word as garbage */
    int64_t since_ms; /* clock_ms() when the hook was entered */
};

#endif
