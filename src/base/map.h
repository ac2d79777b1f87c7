/*
 * base/map - text to pointer
 *
 * Owns   an open-addressing hash table with a key that differs in each process start, so that
 *        nobody outside can choose colliding names; that key is all that is process-wide
 * Keep   keys compare byte for byte; who wants case folded folds before asking
 */
#ifndef QPSMTPD_BASE_MAP_H
#define QPSMTPD_BASE_MAP_H

#include "base/arena.h"

struct map;

/* map_new - empty; allocates its slots at the first map_set */
struct map *map_new(struct arena *a);

/* map_reserve - make room for count keys at once, where a long list is about to be put in */
void map_reserve(struct map *m, size_t count);

/*
 * map_set - put or replace; a NULL value makes map_get answer as if the key were absent
 *
 * The key is copied into the map's arena; value is borrowed for the arena's life.
 */
void map_set(struct map *m, struct str key, void *value);

/* map_get - the value, or NULL */
void *map_get(const struct map *m, struct str key);

/* map_count - keys that were ever put in */
size_t map_count(const struct map *m);

#endif
