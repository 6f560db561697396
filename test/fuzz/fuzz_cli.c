/* Whatever is typed: values are taken whole or refused untouched, messages stay printable lines. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool truth)
{
	if (!truth)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t untouched = 0x123456789abcdef0;
	struct cli_address address;
	char *s, *out;
	uint64_t n;
	mode_t mode = 01234;
	size_t i, room, taken;

	s = malloc(size + 1);
	room = size == 0 ? 1 : data[0] % 64 + 1;
	out = malloc(room);
	if (s == NULL || out == NULL)
		abort();
	if (size > 0)
		memcpy(s, data, size);
	s[size] = '\0';

	n = untouched;
	require(cli_parse_number(s, 10, 1000, &n) ? n >= 10 && n <= 1000 : n == untouched);
	n = untouched;
	require(cli_parse_duration(s, &n) ? n <= INT64_MAX : n == untouched);
	n = untouched;
	require(cli_parse_size(s, &n) ? n <= INT64_MAX : n == untouched);
	require(cli_parse_mode(s, &mode) ? mode <= 0777 : mode == 01234);
	if (cli_parse_address(s, &address) == NULL)
		require(
		    address.kind == CLI_UNIX ? address.path[0] != '\0' : strchr(s, ':') != NULL);

	taken = cli_escape(out, room, s, size);
	require(taken <= size && strlen(out) < room);
	require(taken == size || strlen(out) + 4 >= room); /* stopped for want of room alone */
	for (i = 0; out[i] != '\0'; i++)
		require((unsigned char)out[i] >= 0x20 && out[i] != 0x7f);
	free(out);
	free(s);
	return 0;
}
