/* See opens.h. */
#include "opens.h"

#include "bytes.h"
#include "cli.h"
#include "log.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

struct open {
	uint32_t session;
	uint64_t begins, ends;  /* open at positions from begins on, before ends */
	TAILQ_ENTRY(open) link; /* when it is closed */
	size_t len;
	uint8_t record[];
};

static int
compare(const void *a, const void *b)
{
	uint32_t x = ((const struct open *)a)->session, y = ((const struct open *)b)->session;

	return (x > y) - (x < y);
}

void
opens_init(struct opens *o)
{
	o->all = NULL;
	TAILQ_INIT(&o->closed);
}

void
opens_add(struct opens *o, uint32_t session, uint64_t end, const uint8_t *record, size_t len)
{
	struct open *s = malloc(sizeof *s + len);

	if (s == NULL)
		cli_die(CLI_EFAIL, "session %u", (unsigned)session);
	*s = (struct open){ .session = session, .begins = end, .ends = UINT64_MAX, .len = len };
	memcpy(s->record, record, len);
	if (tsearch(s, &o->all, compare) == NULL)
		cli_die(CLI_EFAIL, "session %u", (unsigned)session);
}

void
opens_close(struct opens *o, uint32_t session, uint64_t end)
{
	const struct open key = { .session = session };
	struct open *const *s = tfind(&key, &o->all, compare);

	if (s == NULL)
		return;
	(*s)->ends = end;
	TAILQ_INSERT_TAIL(&o->closed, *s, link);
}

void
opens_forget(struct opens *o, uint64_t position)
{
	struct open *s;

	while ((s = TAILQ_FIRST(&o->closed)) != NULL && s->ends <= position) {
		TAILQ_REMOVE(&o->closed, s, link);
		tdelete(s, &o->all, compare);
		free(s);
	}
}

struct gathering {
	uint64_t position, time_us;
	uint8_t *records;
	size_t len;
};

static void
gather(const void *node, VISIT visit, void *arg)
{
	const struct open *s = *(struct open *const *)node;
	struct gathering *g = arg;
	uint8_t *p;

	if ((visit != postorder && visit != leaf) || g->position < s->begins ||
	    g->position >= s->ends)
		return;
	if ((p = realloc(g->records, g->len + s->len)) == NULL)
		cli_die(CLI_EFAIL, "session %u", (unsigned)s->session);
	memcpy(p + g->len, s->record, s->len);
	if (le32_load(s->record) == LOG_MAGIC)
		le64_store(p + g->len + 16, g->time_us);
	g->records = p;
	g->len += s->len;
}

uint8_t *
opens_records(const struct opens *o, uint64_t position, uint64_t time_us, size_t *leno)
{
	struct gathering g = { .position = position, .time_us = time_us };

	twalk_r(o->all, gather, &g);
	*leno = g.len;
	return g.records;
}

void
opens_free(struct opens *o)
{
	tdestroy(o->all, free);
	opens_init(o);
}
