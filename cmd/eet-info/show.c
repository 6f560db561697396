#include "show.h"

#include "cli.h"
#include "json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* A path may be 4096 bytes, of which each can become 6. */
enum { LINE = 32768 };

static char line[LINE];
static bool headed;

static void
json_line(struct json *j)
{
	fwrite(line, 1, json_end(j), stdout);
}

/* Bytes from outside, for the table; good until the next call but one. */
static const char *
shown(const char *s)
{
	static char bufs[2][1024];
	static int which;

	which = !which;
	cli_escape(bufs[which], sizeof bufs[which], s, strlen(s));
	return bufs[which];
}

static void
time_text(uint64_t us, char out[32])
{
	time_t t = (time_t)(us / 1000000);
	struct tm tm;
	size_t n;

	gmtime_r(&t, &tm);
	n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, 32 - n, ".%03uZ", (unsigned)(us / 1000 % 1000));
}

void
show_begin(void)
{
	headed = false;
}

static void
heading(const char *file)
{
	if (headed)
		return;
	headed = true;
	printf(
	    "%s:\n%7s %10s %-5s %-18s %6s %2s %5s %9s %11s %5s %6s %5s %5s %5s %7s %7s %5s  %s\n",
	    shown(file), "session", "stream", "codec", "layout", "rate", "ch", "n", "frames",
	    "seconds", "gaps", "lost", "rep", "rest", "dmg", "peak", "rms", "clip", "tag");
}

void
show_gap(enum show_style style, const char *file, const struct log_record *rec,
    struct pcm_step step)
{
	const struct stream *st = &rec->session->stream;
	char time[32];
	struct json j;

	if (style == SHOW_JSON) {
		json_begin(&j, line, sizeof line);
		json_string(&j, "event", "gap");
		json_string(&j, "file", file);
		json_number(&j, "session", rec->session->number);
		json_number(&j, "offset", rec->offset);
		json_number(&j, "seq", rec->frame.seq);
		json_number(&j, "time_us", rec->time_us);
		json_number(&j, "frames", step.step.gap);
		json_number(&j, "silence", step.silence);
		json_line(&j);
	} else if (style == SHOW_TABLE) {
		time_text(rec->time_us, time);
		heading(file);
		printf("%7" PRIu32 " %10" PRIu32 " gap of %" PRIu32 " frame%s before seq %" PRIu32
		       ", %s, offset %" PRIu64 "%s\n",
		    rec->session->number, st->format.stream_id, step.step.gap,
		    step.step.gap == 1 ? "" : "s", rec->frame.seq, time, rec->offset,
		    step.silence > 0 ? "" : ", too long to be filled");
	}
}

void
show_damage(enum show_style style, const char *file, uint64_t offset, uint64_t skipped,
    const char *text)
{
	struct json j;

	if (style != SHOW_JSON)
		return; /* standard error says it */
	json_begin(&j, line, sizeof line);
	json_string(&j, "event", "damage");
	json_string(&j, "file", file);
	json_number(&j, "offset", offset);
	json_number(&j, "skipped", skipped);
	json_string(&j, "text", text);
	json_line(&j);
}

static void
stream_json(const char *file, const struct log_record *rec, const struct facts *f)
{
	const struct log_session *s = rec->session;
	const struct stream *st = &s->stream;
	const struct wire_handshake *h = &st->format;
	struct adpcm_verdict v;
	const struct reading *r = facts_reading(f, &v);
	const struct pcm *p = &r->pcm;
	const bool adpcm = h->codec == WIRE_ADPCM;
	const bool chain = adpcm && v.layout != ADPCM_BARE;
	uint64_t samples = p->audio + p->silence;
	char hash[65];
	double number = 0;
	bool known;
	struct json j;

	facts_hash(f, hash);
	json_begin(&j, line, sizeof line);
	json_string(&j, "event", "stream");
	json_string(&j, "file", file);
	json_number(&j, "session", s->number);
	json_number(&j, "stream_id", h->stream_id);
	json_string(&j, "tag", s->tag);
	json_string(&j, "peer", s->peer);
	json_string(&j, "codec", wire_codec_name(h->codec));
	json_string(&j, "layout", adpcm ? adpcm_verdict_name(&v) : NULL);
	json_string(&j, "layout_rule", adpcm ? adpcm_rule_name(v.rule) : NULL);
	json_number(&j, "rate", h->sample_rate);
	json_number(&j, "channels", h->channels);
	json_number(&j, "frame_samples", h->frame_samples);
	json_number(&j, "timestamp_ms", h->timestamp_ms);
	json_number(&j, "first_seq", st->started ? st->first_seq : JSON_UNKNOWN);
	json_number(&j, "last_seq", st->started ? st->last_seq : JSON_UNKNOWN);
	json_number(&j, "first_us", st->started ? f->first_us : JSON_UNKNOWN);
	json_number(&j, "last_us", st->started ? f->last_us : JSON_UNKNOWN);
	json_number(&j, "frames", st->frames);
	json_number(&j, "bytes", f->bytes);
	json_number(&j, "samples", samples);
	json_fixed(&j, "seconds", true, 6, (double)samples / h->sample_rate);
	json_number(&j, "gaps", st->gaps);
	json_number(&j, "gap_frames", st->gap_frames);
	json_number(&j, "unfilled", p->unfilled);
	json_number(&j, "repeats", st->repeats);
	json_number(&j, "restarts", st->restarts);
	json_number(&j, "damaged", p->damaged);
	known = pcm_peak_dbfs(&p->levels, &number);
	json_fixed(&j, "peak_dbfs", known, 2, number);
	known = pcm_rms_dbfs(&p->levels, &number);
	json_fixed(&j, "rms_dbfs", known, 2, number);
	json_number(&j, "clipped", p->levels.clipped);
	json_number(&j, "silent_frames", r->silent_frames);
	json_number(&j, "chain_pairs", chain ? f->pairs : JSON_UNKNOWN);
	json_number(&j, "chain_held", chain ? r->chain_held : JSON_UNKNOWN);
	json_fixed(&j, "jitter_us", f->drift.n > 1, 0, f->jitter_us);
	known = facts_drift_ppm(f, &number);
	json_fixed(&j, "drift_ppm", known, 1, number);
	json_number(&j, "close_code", rec->code != 0 ? rec->code : JSON_UNKNOWN);
	json_string(&j, "close_reason", rec->reason);
	json_string(&j, "sha256", hash);
	json_line(&j);
}

static void
dbfs(char out[16], bool known, double v)
{
	if (known)
		snprintf(out, 16, "%.1f", v);
	else
		strcpy(out, "silent");
}

static void
details(const struct log_record *rec, const struct facts *f, const struct reading *r)
{
	const struct stream *st = &rec->session->stream;
	char first[32], last[32];
	double ppm;

	if (rec->session->peer[0] != '\0')
		printf("\tpeer %s\n", shown(rec->session->peer));
	if (st->started) {
		time_text(f->first_us, first);
		time_text(f->last_us, last);
		printf("\tseq %" PRIu32 " to %" PRIu32 ", %s to %s, %" PRIu64 " bytes of payload\n",
		    st->first_seq, st->last_seq, first, last, f->bytes);
	}
	printf("\tframes of digital silence: %" PRIu64 " of %" PRIu64 "\n", r->silent_frames,
	    st->frames);
	if (f->pairs > 0 && r->pcm.layout != ADPCM_BARE)
		printf("\tchain holds between %" PRIu64 " of %" PRIu64 " blocks, %.1f %%\n",
		    r->chain_held, f->pairs, 100.0 * (double)r->chain_held / (double)f->pairs);
	if (f->drift.n > 1)
		printf("\tarrival jitter %.0f us\n", f->jitter_us);
	if (facts_drift_ppm(f, &ppm))
		printf("\tthe sender's clock runs %.1f ppm %s than ours\n", ppm < 0 ? -ppm : ppm,
		    ppm < 0 ? "slower" : "faster");
	if (rec->code != 0)
		printf("\tclosed with %u%s%s\n", rec->code, rec->reason[0] != '\0' ? ": " : "",
		    shown(rec->reason));
}

static void
stream_row(const char *file, const struct log_record *rec, const struct facts *f)
{
	const struct stream *st = &rec->session->stream;
	const struct wire_handshake *h = &st->format;
	struct adpcm_verdict v;
	const struct reading *r = facts_reading(f, &v);
	const struct pcm *p = &r->pcm;
	char layout[32] = "", peak[16], rms[16], hash[65];
	double number = 0;
	bool known;

	if (h->codec == WIRE_ADPCM)
		snprintf(layout, sizeof layout, "%s (%s)", adpcm_verdict_name(&v),
		    adpcm_rule_name(v.rule));
	known = pcm_peak_dbfs(&p->levels, &number);
	dbfs(peak, known, number);
	known = pcm_rms_dbfs(&p->levels, &number);
	dbfs(rms, known, number);
	heading(file);
	printf("%7" PRIu32 " %10" PRIu32 " %-5s %-18s %6" PRIu32 " %2u %5u %9" PRIu64
	       " %11.3f %5" PRIu64 " %6" PRIu64 " %5" PRIu64 " %5" PRIu64 " %5" PRIu64
	       " %7s %7s %5" PRIu64 "%s%s\n",
	    rec->session->number, h->stream_id, wire_codec_name(h->codec), layout, h->sample_rate,
	    h->channels, h->frame_samples, st->frames,
	    (double)(p->audio + p->silence) / h->sample_rate, st->gaps, st->gap_frames, st->repeats,
	    st->restarts, p->damaged, peak, rms, p->levels.clipped,
	    rec->session->tag[0] != '\0' ? "  " : "", rec->session->tag);
	facts_hash(f, hash);
	if (hash[0] != '\0')
		printf("\tsha256 %s\n", hash);
	if (cli_level > 0)
		details(rec, f, r);
}

void
show_stream(enum show_style style, const char *file, const struct log_record *rec,
    const struct facts *f)
{
	if (style == SHOW_JSON)
		stream_json(file, rec, f);
	else if (style == SHOW_TABLE)
		stream_row(file, rec, f);
}

void
show_end(enum show_style style, const char *file, bool mux, uint64_t bytes, uint64_t streams,
    uint64_t damage)
{
	struct json j;

	if (style == SHOW_TABLE && streams == 0)
		printf("%s: no stream in it\n", shown(file));
	if (style != SHOW_JSON)
		return;
	json_begin(&j, line, sizeof line);
	json_string(&j, "event", "log");
	json_string(&j, "file", file);
	json_string(&j, "kind", bytes == 0 ? NULL : mux ? "mux" : "frames");
	json_number(&j, "bytes", bytes);
	json_number(&j, "streams", streams);
	json_number(&j, "damage", damage);
	json_line(&j);
}
