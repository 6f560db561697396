/* What eet-info prints: a table for people, or JSON lines for programs.  Nothing with --check. */
#ifndef EET_INFO_SHOW_H
#define EET_INFO_SHOW_H

#include "facts.h"
#include "log.h"

#include <stdbool.h>
#include <stdint.h>

enum show_style { SHOW_TABLE, SHOW_JSON, SHOW_NOTHING };

/* A log begins; the table's heading is printed when there is something below it. */
void show_begin(void);

/* A frame behind a gap. */
void show_gap(enum show_style style, const char *file, const struct log_record *rec,
    struct pcm_step step);

/* Damage at that offset; skipped: bytes that were passed over because of it. */
void show_damage(enum show_style style, const char *file, uint64_t offset, uint64_t skipped,
    const char *text);

/* A stream ends, with a LOG_CLOSE. */
void show_stream(enum show_style style, const char *file, const struct log_record *rec,
    const struct facts *f);

/* The log ends. */
void show_end(enum show_style style, const char *file, bool mux, uint64_t bytes, uint64_t streams,
    uint64_t damage);

#endif
