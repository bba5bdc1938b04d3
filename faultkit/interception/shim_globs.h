/* Globs as faultkit.plan.file_filters has them, on names in UTF-8: "*", "?" and sets, "!" for any other; letters differ by case.
 *
 * Promised.  What Python's matching of names says; a test holds one to the other.  Left out: names that are no UTF-8.
 */
static const char *next_character(const char *p) {
    p++;
    while ((*p & 0xc0) == 0x80) p++;
    return p;
}

static uint32_t character(const char *p) {
    unsigned char c = (unsigned char)*p;
    uint32_t value = c < 0x80 ? c : c < 0xe0 ? c & 0x1f : c < 0xf0 ? c & 0x0f : c & 7;
    for (const char *q = p + 1; c >= 0x80 && (*q & 0xc0) == 0x80; q++) value = value << 6 | (*q & 0x3f);
    return value;
}

/* The end of a set that begins behind "[", NULL where it is none. */
static const char *end_of_set(const char *p, const char *end) {
    if (p < end && *p == '!') p++;
    if (p < end && *p == ']') p++;
    while (p < end && *p != ']') p++;
    return p < end ? p : NULL;
}

static int in_set(const char *p, const char *end, uint32_t c) {
    int negated = *p == '!', found = 0;
    if (negated) p++;
    while (p < end) {
        uint32_t low = character(p), high = low;
        p = next_character(p);
        if (p + 1 < end && *p == '-') {
            high = character(p + 1);
            p = next_character(p + 1);
        }
        found |= low <= c && c <= high;
    }
    return found != negated;
}

static int glob_matches(const char *glob, const char *glob_end, const char *name, const char *name_end) {
    const char *star = NULL, *retry = NULL;
    while (name < name_end || glob < glob_end) {
        if (glob < glob_end && *glob == '*') {
            star = ++glob;
            retry = name;
            continue;
        }
        if (name < name_end && glob < glob_end) {
            const char *set_end = *glob == '[' ? end_of_set(glob + 1, glob_end) : NULL;
            int same = set_end ? in_set(glob + 1, set_end, character(name))
                       : *glob == '?' || character(glob) == character(name);
            if (same) {
                glob = set_end ? set_end + 1 : next_character(glob);
                name = next_character(name);
                continue;
            }
        }
        if (!star || retry >= name_end) return 0;
        retry = next_character(retry);
        name = retry;
        glob = star;
    }
    return 1;
}

static int slashes(const char *p) {
    int n = 0;
    for (; *p; p++) n += *p == '/';
    return n;
}

/* Whether `glob` means the absolute name `path`: as many names at its end as the glob has, or all. */
EXPORT int faultkit_matches(const char *glob, const char *path) {
    int whole = glob[0] == '/';
    int wanted_names = slashes(glob) + !whole, names = slashes(path);
    if (names < wanted_names || (whole && names != wanted_names)) return 0;
    const char *p = path;
    for (int skipped = names - wanted_names; *p; p++)
        if (*p == '/' && skipped-- == 0) break;
    glob += whole;
    p++;
    for (;;) {
        const char *glob_end = glob + strcspn(glob, "/"), *name_end = p + strcspn(p, "/");
        if (!glob_matches(glob, glob_end, p, name_end)) return 0;
        if (!*glob_end || !*name_end) return !*glob_end && !*name_end;
        glob = glob_end + 1;
        p = name_end + 1;
    }
}

static int begins_with_one(uint32_t lines, const char *path, int whole_names) {
    for (const char *p = pooled(lines); lines && *p;) {
        size_t n = strcspn(p, "\n");
        if (n && !strncmp(p, path, n) && (!whole_names || path[n] == '/' || !path[n])) return 1;
        p += n + (p[n] == '\n');
    }
    return 0;
}

/* Whether a fault without a path means this file. */
static int is_any_file(const char *path) {
    size_t n = strlen(path);
    if (faulty->included) return begins_with_one(faulty->included, path, 1);
    if (begins_with_one(faulty->excluded, path, 0) && strncmp(path, "/dev/shm/", 9)) return 0;
    return !((n > 3 && !strcmp(path + n - 3, ".py")) || (n > 4 && !strcmp(path + n - 4, ".pyc")));
}

static int means(const struct faulty_site *site, const char *path) {
    return path && *path && (site->glob ? faultkit_matches(pooled(site->glob), path) : is_any_file(path));
}

