#include "plugin/aliases.h"

#include <stddef.h>
#include <string.h>

static const struct {
    const char *name, *file;
} aliases[] = {
    {"badmailfrom", "check_badmailfrom"},
    {"badmailfromto", "check_badmailfromto"},
    {"badrcptto", "check_badrcptto"},
    {"earlytalker", "check_earlytalker"},
    {"headers", "check_basicheaders"},
    {"helo", "check_spamhelo"},
    {"relay", "check_relay"},
    {"resolvable_fromhost", "require_resolvable_fromhost"},
    {"virus/aveclient", "virus/scanner"},
    {"virus/bitdefender", "virus/scanner"},
    {"virus/clamav", "virus/scanner"},
    {"virus/hbedv", "virus/scanner"},
    {"virus/kavscanner", "virus/scanner"},
    {"virus/sophie", "virus/scanner"},
    {"virus/uvscan", "virus/scanner"},
};

const char *
alias_resolve(const char *name)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcmp(name, aliases[i].name) == 0)
            return aliases[i].file;
    return name;
}
