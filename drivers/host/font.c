/* SPDX-License-Identifier: BSD-2-Clause */
/* The framebuffer console's letters: drawn for it, 5 x 8 pixels, the last row for descenders. */
#include "drivers/host/font.h"

#include <stdint.h>

enum { FIRST = 32, COUNT = 95 };

/* ASCII 32 to 126; 40 bits each: rows from the top, five bits a row, the leftmost pixel highest. */
static const uint64_t glyphs[COUNT] = {
    0x0000000000, 0x2108420080, 0x5294000000, 0x02bea57d40, 0x23e8e2f880, 0xce44444e60,
    0x45288ac9a0, 0x2110000000, 0x1110841040, 0x4104211100, 0x012aea9000, 0x0109f21000,
    0x0000003088, 0x0001f00000, 0x0000003180, 0x0844444200, 0x74675cc5c0, 0x23284213e0,
    0x74426443e0, 0xf042e087c0, 0x19531f8420, 0xfc3c10c5c0, 0x3a21e8c5c0, 0xf842221080,
    0x7462e8c5c0, 0x7462f08b80, 0x0318063000, 0x0318063088, 0x0888820820, 0x003e0f8000,
    0x8208222200, 0x7442220080, 0x746f5bc1c0, 0x22a31fc620, 0xf463e8c7c0, 0x7c210841e0,
    0xf46318c7c0, 0xfc21e843e0, 0xfc21e84200, 0x7c2138c5e0, 0x8c63f8c620, 0xf9084213e0,
    0x3884214980, 0x8ca98a4a20, 0x84210843e0, 0x8eeb58c620, 0x8e7359ce20, 0x746318c5c0,
    0xf463e84200, 0x74631ac9a0, 0xf463ea4a20, 0x7c20e087c0, 0xf908421080, 0x8c6318c5c0,
    0x8c62a52880, 0x8c635aee20, 0x8c54454620, 0x8c54421080, 0xf8444443e0, 0x72108421c0,
    0x8410410420, 0x70842109c0, 0x22a2000000, 0x000000001f, 0x4104000000, 0x001c17c5e0,
    0x843d18c7c0, 0x001f0841e0, 0x085f18c5e0, 0x001d1fc1c0, 0x191c421080, 0x001f18bc2e,
    0x843d18c620, 0x20184211c0, 0x100c210a4c, 0x84254c5240, 0x61084211c0, 0x00355ad6a0,
    0x003d18c620, 0x001d18c5c0, 0x003d18fa10, 0x001f18bc21, 0x0016c42100, 0x001f0707c0,
    0x211c421060, 0x002318c5e0, 0x0023152880, 0x00235ad540, 0x0022a22a20, 0x002318bc2e,
    0x003e2223e0, 0x1908821060, 0x2108421084, 0xc108221300, 0x0011510000,
};

/* Lines from the middle of a cell upwards, downwards, to the left and right: 0, 1 or 2 of them. */
#define ARMS(up, down, left, right) ((up) | (down) << 2 | (left) << 4 | (right) << 6)

static const uint8_t frames[] = {
    /* B3 */ ARMS(1, 1, 0, 0), ARMS(1, 1, 1, 0), ARMS(1, 1, 2, 0), ARMS(2, 2, 1, 0),
    /* B7 */ ARMS(0, 2, 1, 0), ARMS(0, 1, 2, 0), ARMS(2, 2, 2, 0), ARMS(2, 2, 0, 0),
    /* BB */ ARMS(0, 2, 2, 0), ARMS(2, 0, 2, 0), ARMS(2, 0, 1, 0), ARMS(1, 0, 2, 0),
    /* BF */ ARMS(0, 1, 1, 0), ARMS(1, 0, 0, 1), ARMS(1, 0, 1, 1), ARMS(0, 1, 1, 1),
    /* C3 */ ARMS(1, 1, 0, 1), ARMS(0, 0, 1, 1), ARMS(1, 1, 1, 1), ARMS(1, 1, 0, 2),
    /* C7 */ ARMS(2, 2, 0, 1), ARMS(2, 0, 0, 2), ARMS(0, 2, 0, 2), ARMS(2, 0, 2, 2),
    /* CB */ ARMS(0, 2, 2, 2), ARMS(2, 2, 0, 2), ARMS(0, 0, 2, 2), ARMS(2, 2, 2, 2),
    /* CF */ ARMS(1, 0, 2, 2), ARMS(2, 0, 1, 1), ARMS(0, 1, 2, 2), ARMS(0, 2, 1, 1),
    /* D3 */ ARMS(2, 0, 0, 1), ARMS(1, 0, 0, 2), ARMS(0, 1, 0, 2), ARMS(0, 2, 0, 1),
    /* D7 */ ARMS(2, 2, 1, 1), ARMS(1, 1, 2, 2), ARMS(1, 0, 1, 0), ARMS(0, 1, 0, 1),
};
_Static_assert(sizeof(frames) == 0xda - 0xb3 + 1, "one for each frame character");

/* ASCII for what is neither that nor a frame: 0 to 31, 128 to 175, 224 to 255. */
static const char alike_low[] = " ***********************^v><-*^v";
static const char alike_high[] = "CueaaaaceeeiiiAAEaAooouuyOUc$YPfaiounNao?--24!<>";
static const char alike_greek[] = "aBGpSsmtPTOd*oeA=+><fj/~o..vn2* ";
_Static_assert(sizeof(alike_low) == 33 && sizeof(alike_high) == 49 && sizeof(alike_greek) == 33,
               "one for each");

static int line_pixel(unsigned lines, unsigned across, unsigned middle)
{
    return lines == 1 ? across == middle
                      : lines == 2 && (across == middle - 1 || across == middle + 1);
}

static int frame_pixel(unsigned arms, unsigned x, unsigned y)
{
    enum { X = 2, Y = 4 };
    return (y <= Y && line_pixel(arms & 3, x, X)) || (y >= Y && line_pixel(arms >> 2 & 3, x, X)) ||
           (x <= X && line_pixel(arms >> 4 & 3, y, Y)) || (x >= X && line_pixel(arms >> 6, y, Y));
}

int font_cell_pixel(unsigned char c, unsigned x, unsigned y)
{
    if (c >= 0xb3 && c <= 0xda)
        return frame_pixel(frames[c - 0xb3], x, y);
    switch (c) {
    case 0xb0: return x % 2 == 0 && y % 2 == 0;
    case 0xb1: return (x + y) % 2 == 0;
    case 0xb2: return x % 2 == 0 || y % 2 == 0;
    case 0xdb: return 1;
    case 0xdc: return y >= CELL_HEIGHT / 2;
    case 0xdd: return x < CELL_WIDTH / 2;
    case 0xde: return x >= CELL_WIDTH / 2;
    case 0xdf: return y < CELL_HEIGHT / 2;
    default: break;
    }
    if (c < 32)
        c = (unsigned char)alike_low[c];
    else if (c >= 224)
        c = (unsigned char)alike_greek[c - 224];
    else if (c >= 128)
        c = (unsigned char)alike_high[c - 128];
    if (x >= FONT_WIDTH || y >= FONT_HEIGHT || c < FIRST || c >= FIRST + COUNT)
        return 0;
    const unsigned bit = (FONT_HEIGHT - 1 - y) * FONT_WIDTH + FONT_WIDTH - 1 - x;
    return (int)(glyphs[c - FIRST] >> bit & 1);
}
