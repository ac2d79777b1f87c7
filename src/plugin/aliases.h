/*
 * plugin/aliases - both generations of names
 *
 * Owns   the table of names under which 1.00 knew what r356 called otherwise; the files bear r356's
 * names
 */
#ifndef QPSMTPD_PLUGIN_ALIASES_H
#define QPSMTPD_PLUGIN_ALIASES_H

/* alias_resolve - the name of the file for that name; name itself when it is no alias */
const char *alias_resolve(const char *name);

#endif
