#include "config.h"

#include <string.h>
#include <unistd.h>

#include <qpsmtpd/peer.h>

#define OWN_MAX   20 /* options of the plugin itself */
#define ELDER_MAX 6  /* of an ancestor */

/* ---- names and options of the ancestors ---- */

enum meaning {
    BIN,
    SOCKET,
    DENY_VIRUSES,
    BLOCK_ON_ERROR,
    BCC,
    SIZE_KB,
    DECLINED_ON_FAIL,
    CONF_FILE,
    BACK_COMPAT,
    DIR
};

static const struct elder {
    const char *plugin, *product;
    uint64_t max_size;
    int action;
    struct {
        const char *name;
        enum meaning meaning;
    } option[ELDER_MAX];
} elders[] = {
    {"virus/clamav", "clamdscan", 524288, QP_VIRUS_REJECT,
        {{"clamscan_path", BIN}, {"tmp_dir", DIR}, {"clamd_conf", CONF_FILE},
            {"back_compat", BACK_COMPAT}, {"declined_on_fail", DECLINED_ON_FAIL}}},
    {"virus/uvscan", "uvscan", 250000, QP_VIRUS_REJECT,
        {{"uvscan_location", BIN}, {"deny_viruses", DENY_VIRUSES}}},
    {"virus/kavscanner", "kav4", 0, QP_VIRUS_ADD_HEADER,
        {{"kavscanner_bin", BIN}, {"bcc_virusadmin", BCC}}},
    {"virus/aveclient", "aveclient", 0, QP_VIRUS_REJECT,
        {{"avclient_bin", BIN}, {"avdaemon_sock", SOCKET}, {"blockonerror", BLOCK_ON_ERROR}}},
    {"virus/bitdefender", "bitdefender", 128 << 10, QP_VIRUS_REJECT,
        {{"bitdefender_location", BIN}, {"deny_viruses", DENY_VIRUSES}, {"max_size", SIZE_KB}}},
    {"virus/hbedv", "hbedv", 0, QP_VIRUS_REJECT, {{"hbedvscanner", BIN}}},
    {"virus/sophie", "sophie", 128 << 10, QP_VIRUS_REJECT,
        {{"sophie_socket", SOCKET}, {"deny_viruses", DENY_VIRUSES}, {"max_size", SIZE_KB}}},
};

/* NULL: virus/scanner itself. */
static const struct elder *
elder_of(const char *plugin)
{
    size_t n = strcspn(plugin, ":");

    for (size_t i = 0; i < sizeof elders / sizeof *elders; i++)
        if (strlen(elders[i].plugin) == n && strncmp(plugin, elders[i].plugin, n) == 0)
            return &elders[i];
    return NULL;
}

/* ---- init ---- */

/* What the words say, before it is looked at. */
struct words {
    const char *clean, *infected, *encrypted, *name, *bcc, *conf_file;
    bool deny_viruses, block, declined_on_fail, back_compat;
    int kb;
};

static struct qp_arg
elder_arg(const char *name, enum meaning meaning, struct conf *c, struct words *w)
{
    struct qp_arg a = {.name = name};

    switch (meaning) {
    case BIN:
        a.text = &c->bin;
        break;
    case SOCKET:
        a.text = &c->socket;
        break;
    case DIR:
        a.text = &c->dir;
        break;
    case BCC:
        a.text = &w->bcc;
        break;
    case CONF_FILE:
        a.text = &w->conf_file;
        break;
    case DENY_VIRUSES:
        a.flag = &w->deny_viruses;
        break;
    case BLOCK_ON_ERROR:
        a.flag = &w->block;
        break;
    case DECLINED_ON_FAIL:
        a.flag = &w->declined_on_fail;
        break;
    case BACK_COMPAT:
        a.flag = &w->back_compat;
        break;
    case SIZE_KB:
        a.number = &w->kb;
        a.max = 1 << 30;
        break;
    }
    return a;
}

static bool
read_words(struct qp *q, struct conf *c, const struct elder *elder, struct words *w, int argc,
    const char *const argv[])
{
    const char *product = NULL;
    struct qp_arg args[OWN_MAX + ELDER_MAX] = {
        {.name = "action", .choice = &c->virus.action, .choices = QP_VIRUS_ACTIONS},
        {.name = "on_error", .choice = &c->on_error, .choices = "tempfail accept"},
        {.name = "bin", .text = &c->bin},
        {.name = "socket", .text = &c->socket},
        {.name = "deny_encrypted", .flag = &c->deny_locked},
        {.name = "scan_all", .flag = &c->scan_all},
        {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 600},
        {.name = "bcc", .text = &w->bcc},
        {.name = "pass", .choice = &c->by_name, .choices = "fd name"},
        {.name = "dir", .text = &c->dir},
        {.name = "mode", .choice = &c->mode, .choices = "600 640 644"},
        {.name = "clean", .text = &w->clean},
        {.name = "infected", .text = &w->infected},
        {.name = "encrypted", .text = &w->encrypted},
        {.name = "name", .text = &w->name},
    };
    size_t n = 0;
    bool kb = false;

    while (args[n].name)
        n++;
    if (!elder)
        args[n++] = (struct qp_arg){
            .name = "product", .positional = true, .required = true, .text = &product};
    for (size_t i = 0; elder && i < ELDER_MAX && elder->option[i].name; i++) {
        args[n++] = elder_arg(elder->option[i].name, elder->option[i].meaning, c, w);
        kb = kb || elder->option[i].meaning == SIZE_KB;
    }
    if (!kb)
        args[n] = (struct qp_arg){.name = "max_size", .size = &c->max_size};
    if (!qp_args(q, argc, argv, args))
        return false;
    c->product = product_find(elder ? elder->product : product);
    if (!c->product) {
        char names[256];

        product_names(names, sizeof names);
        return qp_fail(q, "\"%s\" is no product: one of %s", product, names);
    }
    return true;
}

/* Words of virus/clamav: NAME=VALUE, a path in front, words that alone mean yes. Others are as everywhere. */
static const char *const *
clamav_words(struct qp *q, int *argc, const char *const argv[])
{
    const char **out = qp_alloc(q, QP_INSTANCE, (2 * (size_t)*argc + 1) * sizeof *out);
    int n = 1;

    out[0] = argv[0];
    for (int i = 1; i < *argc; i++) {
        const char *equals = strchr(argv[i], '=');

        if (i == 1 && argv[i][0] == '/') {
            out[n++] = "clamscan_path";
            out[n++] = argv[i];
        } else if (equals) {
            out[n++] = qp_printf(q, QP_INSTANCE, "%.*s", (int)(equals - argv[i]), argv[i]);
            out[n++] = equals + 1;
        } else if (strcmp(argv[i], "back_compat") == 0 ||
                   strcmp(argv[i], "declined_on_fail") == 0) {
            out[n++] = argv[i];
            out[n++] = "1";
        } else {
            out[n++] = argv[i];
        }
    }
    *argc = n;
    return out;
}

/* The words behind "args", and how many come before it. */
static bool
take_args(struct qp *q, struct conf *c, int *argc, const char *const argv[])
{
    int at = 1, n = 0;

    while (at < *argc && strcmp(argv[at], "args") != 0)
        at++;
    if (*argc - at > WORDS_MAX)
        return qp_fail(q, "args: more than %d words", WORDS_MAX - 1);
    for (int i = at + 1; i < *argc; i++)
        c->words[n++] = argv[i];
    *argc = at;
    return true;
}

static void
use_args(struct qp *q, struct conf *c, const char *text)
{
    char *rest = qp_strdup(q, QP_INSTANCE, text), *word;
    size_t n = 0;

    while ((word = strsep(&rest, " ")))
        c->words[n++] = word;
    c->words[n] = NULL;
}

static const char *
or_empty(const char *text, const char *otherwise)
{
    return text ? text : otherwise ? otherwise : "";
}

static bool
read_codes(struct qp *q, const char *option, const char *text, struct codes *out)
{
    return codes_parse(text, out) ||
           qp_fail(q, "%s: \"%s\" is no list of exit codes, like 2,3,8", option, text);
}

static bool
read_pattern(struct qp *q, struct conf *c, const char *pattern)
{
    const char *star = strchr(pattern, '*');
    char *copy = qp_strdup(q, QP_INSTANCE, pattern);

    if (!star || strchr(star + 1, '*') || !pattern[1])
        return qp_fail(
            q, "name: \"%s\" needs one * in the place of the name, and a text beside it", pattern);
    for (char *p = copy; *p; p++)
        if (*p == '_')
            *p = ' ';
    c->reading.pattern[0] = copy;
    c->reading.pattern[1] = NULL;
    return true;
}

static bool
read_reading(struct qp *q, struct conf *c, const struct words *w)
{
    const struct product *p = c->product;

    c->reading.locked = p->locked;
    c->reading.by_output = p->by_output;
    c->reading.lines = p->lines;
    memcpy(c->reading.pattern, p->pattern, sizeof p->pattern);
    return read_codes(q, "clean", or_empty(w->clean, p->clean), &c->reading.clean) &&
           read_codes(q, "infected", or_empty(w->infected, p->infected), &c->reading.infected) &&
           read_codes(
               q, "encrypted", or_empty(w->encrypted, p->encrypted), &c->reading.encrypted) &&
           (!w->name || read_pattern(q, c, w->name));
}

/* clamdscan alone knows --fdpass and --config-file; back_compat has the switches of 2005. */
static bool
read_clamav(struct qp *q, struct conf *c, const struct words *w)
{
    const char *base = c->bin ? strrchr(c->bin, '/') : NULL;

    if (base && strcmp(base, "/clamdscan") != 0)
        c->product = product_find("clamscan");
    if (w->back_compat && !c->words[0])
        use_args(q, c, "--stdout -i --max-recursion=50 --disable-summary %f");
    else if (w->conf_file && strcmp(c->product->name, "clamdscan") != 0)
        return qp_fail(q, "clamd_conf: %s needs no configuration of clamd", c->bin);
    else if (w->conf_file && !c->words[0])
        use_args(
            q, c, qp_printf(q, QP_INSTANCE, "--config-file=%s %s", w->conf_file, c->product->args));
    return true;
}

static bool
check_program(struct qp *q, struct conf *c)
{
    const struct product *p = c->product;

    c->bin = c->bin ? c->bin : p->bin;
    c->socket = c->socket ? c->socket : or_empty(p->socket, NULL);
    if (*c->socket && *c->socket != '/')
        return qp_fail(q, "socket: %s is no absolute path", c->socket);
    if (p->needs_name && !c->by_name)
        return qp_fail(q, "pass: %s wants a name", p->name);
    if (p->talks)
        return qp_peer_arg(q, c->socket, 0, &(struct qp_peer_at){0});
    if (!c->bin)
        return qp_fail(q, "bin: where is the program? An absolute path");
    if (c->bin[0] != '/' || access(c->bin, X_OK) < 0)
        return qp_fail(q, "%s is no program that can be run: give its absolute path", c->bin);
    if (!c->words[0])
        use_args(q, c, p->args);
    for (size_t i = 0; c->words[i]; i++)
        if (strstr(c->words[i], "%f"))
            return true;
    return qp_fail(q, "args: none of them has %%f, the file");
}

/* hbedv_deny: which viruses are refused; the others are told in the header. */
static bool
read_deny(struct qp *q, struct conf *c)
{
    struct qp_lines lines = qp_config_lines(q, "hbedv_deny");
    const char *error;

    if (strcmp(c->product->name, "hbedv") != 0 || lines.n == 0)
        return true;
    c->deny = qp_alloc(q, QP_INSTANCE, (lines.n + 1) * sizeof *c->deny);
    for (size_t i = 0; i < lines.n; i++) {
        c->deny[i] = qp_regex_new(
            q, qp_printf(q, QP_INSTANCE, "^(?:%s)$", lines.line[i].text), true, &error);
        if (!c->deny[i])
            return qp_fail_at(q, &lines.line[i], "%s: %s", lines.line[i].text, error);
    }
    return true;
}

static bool
read_bcc(struct qp *q, struct conf *c, const char *address)
{
    if (!address)
        return true;
    c->bcc = qp_address_parse(q, QP_INSTANCE, qp_printf(q, QP_INSTANCE, "<%s>", address));
    return (c->bcc && *c->bcc->address) || qp_fail(q, "bcc: \"%s\" is no address", address);
}

bool
conf_read(struct qp *q, struct conf *c, int argc, const char *const argv[])
{
    const struct elder *elder = elder_of(argv[0]);
    struct words w = {.deny_viruses = true, .block = true, .kb = 128};
    bool clamav = elder && strcmp(elder->product, "clamdscan") == 0;

    *c = (struct conf){.virus = {.text = "Virus Found", .action = elder ? elder->action : 0},
        .deny_locked = true,
        .scan_all = true,
        .by_name = -1,
        .max_size = elder ? elder->max_size : 0,
        .timeout_ms = 60000};
    if (!take_args(q, c, &argc, argv))
        return false;
    if (clamav)
        argv = clamav_words(q, &argc, argv);
    if (!read_words(q, c, elder, &w, argc, argv) || (clamav && !read_clamav(q, c, &w)))
        return false;
    if (c->by_name < 0)
        c->by_name = !c->product->opens_links;
    if (!w.deny_viruses)
        c->virus.action = QP_VIRUS_ADD_HEADER;
    if (elder && strcmp(elder->product, "aveclient") == 0 && !w.block)
        c->on_error = 1;
    c->virus.let_pass = c->on_error || w.declined_on_fail;
    if (elder && elder->max_size == 128 << 10)
        c->max_size = (uint64_t)w.kb << 10;
    if (c->dir && (c->dir[0] != '/' || access(c->dir, W_OK | X_OK) < 0))
        return qp_fail(q, "%s is no directory that can be written to", c->dir);
    return read_reading(q, c, &w) && check_program(q, c) && read_deny(q, c) &&
           read_bcc(q, c, w.bcc);
}
