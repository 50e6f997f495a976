/* SPDX-License-Identifier: BSD-2-Clause */
/* Attacks by what is at an edge, and has one right answer: each returns how many were another. */
#pragma once

/* Code and data that run off the end of each kind of segment, and of the address space. */
unsigned edges_of_segments(void);

/* Code in two pages at once, which is changed in either, by all ways that there are. */
unsigned edges_of_pages(void);
