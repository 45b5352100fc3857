-- A movies database of any size: films, persons, genres and their links, half of them Russian, half English.
--
--   psql -v films=5000 -f dev/sample.sql      into a database without a schema `content`
--
-- The same number of films always gives the same rows: every choice is a hash of the row's number. Of n films come 0.8 n
-- persons, about 2 n genre links and 5 n person links; persons are unevenly busy. Some films have no person, no genre, no
-- description or no rating; some persons have several roles in a film.
-- 5,000 films take a second, 500,000 one to two minutes. Words are joined from small tables and constants: an index into a long
-- text[] walks the array from its start for each word.

\set ON_ERROR_STOP on
\if :{?films}
\else
    \set films 5000
\endif

begin;
set local client_min_messages = warning;
set local jit = off;
set local work_mem = '256MB';
set local maintenance_work_mem = '512MB';
set local max_parallel_workers_per_gather = 0;

create schema content;

create table content.film_work (
    id            uuid primary key,
    title         text not null,
    description   text,
    creation_date date,
    rating        float,
    type          text not null,
    created       timestamptz not null default now(),
    modified      timestamptz not null default now()
);

create table content.genre (
    id          uuid primary key,
    name        text not null,
    description text,
    created     timestamptz not null default now(),
    modified    timestamptz not null default now()
);

create table content.person (
    id        uuid primary key,
    full_name text not null,
    created   timestamptz not null default now(),
    modified  timestamptz not null default now()
);

create table content.genre_film_work (
    id           uuid not null,
    film_work_id uuid not null,
    genre_id     uuid not null,
    created      timestamptz not null default now()
);

create table content.person_film_work (
    id           uuid not null,
    film_work_id uuid not null,
    person_id    uuid not null,
    role         text not null,
    created      timestamptz not null default now()
);

-- Declared exactly as volatile as their bodies are, or PostgreSQL would call them instead of inlining them, 3 times slower.
-- A number from 0 to 2^63 - 1 that depends on nothing but a row's number and what it is for.
create function pg_temp.h(row_number bigint, purpose bigint) returns bigint immutable language sql as
    $$ select hashint8extended(row_number, purpose) & 9223372036854775807 $$;
create function pg_temp.pick(h bigint, words text[]) returns text immutable language sql as
    $$ select words[1 + h % cardinality(words)] $$;
create function pg_temp.film_id(film bigint) returns uuid immutable language sql as $$ select md5('film ' || film::text)::uuid $$;
create function pg_temp.person_id(person bigint) returns uuid immutable language sql as $$ select md5('person ' || person::text)::uuid $$;
create function pg_temp.genre_id(genre bigint) returns uuid immutable language sql as $$ select md5('genre ' || genre::text)::uuid $$;
-- A moment of the year 2024, to the microsecond.
create function pg_temp.moment(h bigint) returns timestamptz stable language sql as
    $$ select timestamptz '2024-01-01 00:00:00+00' + (h % 31536000000000) * interval '1 microsecond' $$;

-- Words. A Russian phrase is there in the forms that titles need, so that a search must know word forms to find it.
create temp table phrase on commit drop as
with ru_noun (nominative, genitive, plural, plural_genitive, ending, ending_genitive) as (values
    ('корабль', 'корабля', 'корабли', 'кораблей', 'ый', 'ого'), ('город', 'города', 'города', 'городов', 'ый', 'ого'),
    ('океан', 'океана', 'океаны', 'океанов', 'ый', 'ого'), ('лес', 'леса', 'леса', 'лесов', 'ый', 'ого'),
    ('замок', 'замка', 'замки', 'замков', 'ый', 'ого'), ('поезд', 'поезда', 'поезда', 'поездов', 'ый', 'ого'),
    ('остров', 'острова', 'острова', 'островов', 'ый', 'ого'), ('рыцарь', 'рыцаря', 'рыцари', 'рыцарей', 'ый', 'ого'),
    ('планета', 'планеты', 'планеты', 'планет', 'ая', 'ой'), ('крепость', 'крепости', 'крепости', 'крепостей', 'ая', 'ой'),
    ('звезда', 'звезды', 'звёзды', 'звёзд', 'ая', 'ой'), ('река', 'реки', 'реки', 'рек', 'ая', 'ой'),
    ('война', 'войны', 'войны', 'войн', 'ая', 'ой'), ('тайна', 'тайны', 'тайны', 'тайн', 'ая', 'ой'),
    ('королева', 'королевы', 'королевы', 'королев', 'ая', 'ой'), ('дорога', 'дороги', 'дороги', 'дорог', 'ая', 'ой'),
    ('птица', 'птицы', 'птицы', 'птиц', 'ая', 'ой'), ('империя', 'империи', 'империи', 'империй', 'ая', 'ой'),
    ('море', 'моря', 'моря', 'морей', 'ое', 'ого'), ('озеро', 'озера', 'озёра', 'озёр', 'ое', 'ого'),
    ('зеркало', 'зеркала', 'зеркала', 'зеркал', 'ое', 'ого'), ('письмо', 'письма', 'письма', 'писем', 'ое', 'ого'),
    ('сердце', 'сердца', 'сердца', 'сердец', 'ое', 'ого'), ('королевство', 'королевства', 'королевства', 'королевств', 'ое', 'ого')
),
ru_adjective (stem) as (values
    ('звёздн'), ('тёмн'), ('красн'), ('забыт'), ('холодн'), ('таинственн'), ('пустынн'), ('железн'), ('стеклянн'), ('серебрян'),
    ('бессонн'), ('опасн'), ('невидим'), ('потерянн'), ('проклят'), ('свободн'), ('безумн'), ('туманн'), ('чёрн'), ('бел'),
    ('стар'), ('нов'), ('сломанн'), ('солнечн')
),
en_noun (singular, plural) as (values
    ('starship', 'starships'), ('city', 'cities'), ('ocean', 'oceans'), ('forest', 'forests'), ('castle', 'castles'), ('train', 'trains'),
    ('island', 'islands'), ('knight', 'knights'), ('planet', 'planets'), ('fortress', 'fortresses'), ('star', 'stars'), ('river', 'rivers'),
    ('battle', 'battles'), ('secret', 'secrets'), ('queen', 'queens'), ('highway', 'highways'), ('bird', 'birds'), ('empire', 'empires'),
    ('sea', 'seas'), ('lake', 'lakes'), ('mirror', 'mirrors'), ('letter', 'letters'), ('heart', 'hearts'), ('kingdom', 'kingdoms')
),
en_adjective (word) as (values
    ('lost'), ('dark'), ('crimson'), ('forgotten'), ('cold'), ('mysterious'), ('silent'), ('iron'), ('glass'), ('silver'), ('sleepless'),
    ('dangerous'), ('invisible'), ('burning'), ('cursed'), ('free'), ('mad'), ('foggy'), ('black'), ('white'), ('old'), ('new'), ('broken'), ('golden')
),
forms as (
    select 'ru' as language, stem || ending || ' ' || nominative as one, stem || 'ые ' || plural as many,
        stem || ending_genitive || ' ' || genitive as of_one, stem || 'ых ' || plural_genitive as of_many
    from ru_noun, ru_adjective
    union all
    select 'en', 'the ' || word || ' ' || singular, word || ' ' || plural, 'of the ' || word || ' ' || singular, 'of ' || word || ' ' || plural
    from en_noun, en_adjective
)
select language, row_number() over (partition by language order by one collate "C") - 1 as n, one, many, of_one, of_many from forms;

create temp table sentence on commit drop as
with part (language, place, words) as (values
    ('ru', 1, array['Капитан звёздного корабля', 'Молодой учёный', 'Бывший солдат', 'Дочь смотрителя маяка', 'Старый сыщик', 'Одинокая певица',
        'Ученик часовщика', 'Команда исследователей', 'Беглый принц', 'Школьная учительница', 'Последний из рыцарей', 'Ночной таксист']),
    ('ru', 2, array['ищет', 'теряет', 'находит', 'спасает', 'прячет', 'защищает', 'вспоминает', 'выбирает', 'крадёт', 'покупает']),
    ('ru', 3, array['пропавшего брата', 'дорогу домой', 'карту забытых морей', 'последнюю надежду', 'старого друга', 'ключ от городских ворот',
        'письмо из будущего', 'тайну древней планеты', 'потерянную книгу', 'чужую память', 'серебряную птицу', 'настоящую любовь',
        'железную корону', 'целую армию', 'голос погибшей звезды', 'доказательство преступления']),
    ('ru', 4, array['на краю далёкой галактики', 'в заброшенном городе', 'среди северных льдов', 'накануне большой войны', 'во время бури',
        'на борту ночного поезда', 'под чужим небом', 'в тени королевского замка', 'за один вечер', 'между двумя мирами',
        'вопреки всем законам', 'у самого моря']),
    ('en', 1, array['The captain of a starship', 'A young scientist', 'A former soldier', 'The lighthouse keeper''s daughter', 'An ageing detective',
        'A lonely singer', 'The watchmaker''s apprentice', 'A crew of explorers', 'A runaway prince', 'A village teacher', 'The last of the knights',
        'A night driver']),
    ('en', 2, array['searches for', 'loses', 'finds', 'rescues', 'hides', 'defends', 'remembers', 'chooses', 'steals', 'buys']),
    ('en', 3, array['a missing brother', 'the road home', 'a map of forgotten seas', 'the last hope', 'an old friend', 'the key to the city gates',
        'a letter from the future', 'the secret of an ancient planet', 'a lost book', 'somebody else''s memories', 'a silver bird', 'true love',
        'the iron crown', 'a whole army', 'the voice of a dead star', 'proof of a crime']),
    ('en', 4, array['at the edge of a distant galaxy', 'in an abandoned city', 'among the northern ice', 'on the eve of a great war', 'during the storm',
        'aboard a night train', 'under foreign skies', 'in the shadow of the royal castle', 'in a single evening', 'between two worlds',
        'against all laws', 'beside the sea'])
)
select a.language, row_number() over (partition by a.language order by w collate "C", x collate "C", y collate "C", z collate "C") - 1 as n,
    concat_ws(' ', w, x, y, z) || '.' as words
from part a, part b, part c, part d, unnest(a.words) w, unnest(b.words) x, unnest(c.words) y, unnest(d.words) z
where (a.place, b.place, c.place, d.place) = (1, 2, 3, 4)
    and b.language = a.language and c.language = a.language and d.language = a.language;

-- The choices of each film; 9 films of 20 are Russian, 9 English, 2 have a Russian title and a description in both languages.
create temp table film on commit drop as
select film, pg_temp.h(film, 1) % 20 as kind, pg_temp.h(film, 2) % 576 as phrase, pg_temp.h(film, 3) as form, pg_temp.h(film, 4) as head,
    pg_temp.h(film, 5) % 23040 as sentence_1, pg_temp.h(film, 6) % 23040 as sentence_2, pg_temp.h(film, 7) % 23040 as sentence_3,
    pg_temp.h(film, 8) % 23040 as sentence_4, pg_temp.h(film, 9) as described, pg_temp.h(film, 10) as sequel
from generate_series(1, :films) film;
analyze phrase;
analyze sentence;
analyze film;

insert into content.film_work (id, title, description, creation_date, rating, type, created, modified)
select pg_temp.film_id(film),
    case form % 4
        when 0 then upper(left(one, 1)) || substr(one, 2)
        when 1 then upper(left(many, 1)) || substr(many, 2)
        else pg_temp.pick(head, case when p.language = 'ru'
            then array['Тайна', 'Возвращение', 'Легенда', 'Тень', 'Хроники', 'Песня', 'Дочь', 'Сын', 'Гибель', 'Капитан', 'Зов', 'Последний день']
            else array['Secret', 'Return', 'Legend', 'Shadow', 'Chronicles', 'Song', 'Daughter', 'Son', 'Fall', 'Captain', 'Call', 'Last Day'] end)
            || ' ' || case form % 4 when 2 then of_one else of_many end
    end || case when sequel % 5 = 0 then ' ' || 2 + sequel / 5 % 4 else '' end,
    case when described % 100 >= 8 then concat_ws(' ', s1.words, s2.words, s3.words, s4.words) end,
    date '1950-01-01' + (pg_temp.h(film, 11) % 27000)::int,
    case when pg_temp.h(film, 12) % 20 > 0 then (10 + pg_temp.h(film, 13) % 90) / 10.0 end,
    case when pg_temp.h(film, 14) % 5 > 0 then 'movie' else 'tv_show' end,
    timestamptz '2023-01-01 00:00:00+00' + film * interval '1 second',
    pg_temp.moment(pg_temp.h(film, 15))
from film
join phrase p on p.language = case when kind < 9 or kind >= 18 then 'ru' else 'en' end and p.n = phrase
join sentence s1 on s1.language = p.language and s1.n = sentence_1
join sentence s2 on s2.language = case when kind < 9 then 'ru' else 'en' end and s2.n = sentence_2
join sentence s3 on s3.language = p.language and s3.n = sentence_3
join sentence s4 on s4.language = case when kind < 9 then 'ru' else 'en' end and s4.n = sentence_4
order by film;

create temp table genre_name on commit drop as
select * from unnest(array['Action', 'Боевик', 'Adventure', 'Приключения', 'Fantasy', 'Фантастика', 'Sci-Fi', 'Drama', 'Драма', 'Music', 'Romance',
    'Мелодрама', 'Thriller', 'Триллер', 'Mystery', 'Детектив', 'Comedy', 'Комедия', 'Animation', 'Мультфильм', 'Family', 'Biography', 'Musical',
    'Crime', 'Short', 'Western', 'Documentary', 'History', 'War', 'Horror']) with ordinality as names (name, genre);

insert into content.genre (id, name, description, created, modified)
select pg_temp.genre_id(genre), name, case when genre % 3 > 0 then 'Films of the genre ' || name end,
    timestamptz '2023-01-01 00:00:00+00', pg_temp.moment(pg_temp.h(genre, 21))
from genre_name;

insert into content.person (id, full_name, created, modified)
select pg_temp.person_id(person),
    case pg_temp.h(person, 31) % 4
        when 0 then pg_temp.pick(pg_temp.h(person, 32), array['Александр', 'Алексей', 'Андрей', 'Борис', 'Василий', 'Виктор', 'Георгий', 'Дмитрий',
            'Евгений', 'Иван', 'Кирилл', 'Леонид', 'Максим', 'Михаил', 'Никита', 'Олег', 'Павел', 'Роман', 'Сергей', 'Фёдор', 'Юрий', 'Ярослав'])
            || ' ' || root
        when 1 then pg_temp.pick(pg_temp.h(person, 33), array['Алла', 'Анна', 'Вера', 'Галина', 'Дарья', 'Екатерина', 'Елена', 'Зоя', 'Инна', 'Ирина',
            'Ксения', 'Лидия', 'Любовь', 'Марина', 'Мария', 'Надежда', 'Нина', 'Ольга', 'Полина', 'Светлана', 'Татьяна', 'Юлия'])
            || ' ' || root || 'а'
        else pg_temp.pick(pg_temp.h(person, 34), array['Alice', 'Anthony', 'Barbara', 'Benjamin', 'Carrie', 'Christopher', 'Daisy', 'Edward', 'Emily',
            'George', 'Grace', 'Harrison', 'Helen', 'Jack', 'James', 'Jennifer', 'John', 'Kate', 'Laura', 'Mark', 'Natalie', 'Oscar', 'Peter', 'Rachel',
            'Samuel', 'Susan', 'Thomas', 'William'])
            || ' ' || chr((65 + pg_temp.h(person, 35) % 26)::int) || '. '
            || pg_temp.pick(pg_temp.h(person, 36), array['Abrams', 'Baker', 'Carter', 'Collins', 'Cooper', 'Davies', 'Edwards', 'Fisher', 'Ford', 'Foster',
            'Grant', 'Hamill', 'Harris', 'Hughes', 'Johnson', 'Kershner', 'Lawson', 'Lucas', 'Marshall', 'Mitchell', 'Morgan', 'Murray', 'O''Brien',
            'Parker', 'Quinn', 'Reynolds', 'Scott', 'Shatner', 'Taylor', 'Turner', 'Walker', 'Wright'])
    end,
    timestamptz '2023-01-01 00:00:00+00', pg_temp.moment(pg_temp.h(person, 37))
from generate_series(1, greatest(1, :films * 4 / 5)) person,
    lateral (select pg_temp.pick(pg_temp.h(person, 38), array['Абрамов', 'Белов', 'Волков', 'Воробьёв', 'Голубев', 'Громов', 'Жуков', 'Зайцев', 'Иванов',
        'Ильин', 'Киселёв', 'Козлов', 'Комаров', 'Королёв', 'Кузнецов', 'Лебедев', 'Макаров', 'Медведев', 'Морозов', 'Никитин', 'Новиков', 'Орлов',
        'Павлов', 'Петров', 'Поляков', 'Романов', 'Семёнов', 'Смирнов', 'Соколов', 'Соловьёв', 'Степанов', 'Тарасов', 'Титов', 'Фёдоров', 'Фролов',
        'Щербаков']) as root) surname;

-- Links are made of small numbers first, so that doubles go before any uuid is computed.
insert into content.genre_film_work (id, film_work_id, genre_id, created)
select md5(film || ' genre ' || genre)::uuid, pg_temp.film_id(film), pg_temp.genre_id(genre), pg_temp.moment(pg_temp.h(film, 40 + genre))
from (
    -- Up to four draws, the same genre drawn twice is one; every 50th film gets none.
    select distinct film, 1 + pg_temp.h(film * 8 + draw, 41) % 30 as genre
    from film, generate_series(1, 4) draw
    where pg_temp.h(film, 42) % 50 > 0 and draw <= 1 + pg_temp.h(film, 43) % 3 + (pg_temp.h(film, 44) % 4 = 0)::int
) link;

insert into content.person_film_work (id, film_work_id, person_id, role, created)
select md5(film || ' ' || role || ' ' || person)::uuid, pg_temp.film_id(film), pg_temp.person_id(person), role, pg_temp.moment(pg_temp.h(film, 60 + person % 8))
from (
    select distinct film, role,
        -- The square makes the first persons busy and most others rare.
        1 + floor(greatest(1, :films * 4 / 5) * power((pg_temp.h(film * 16 + draw, 51) % 1000000) / 1000000.0::float8, 2))::bigint as person
    from film,
        -- Draws: 1 and 2 direct, 3 and 4 write, 5 to 9 act; a draw named twice is one person with two roles.
        lateral (values ('director', 1), ('director', 2), ('writer', 3), ('writer', 4), ('writer', 1), ('actor', 1),
            ('actor', 5), ('actor', 6), ('actor', 7), ('actor', 8), ('actor', 9)) part (role, draw),
        lateral (select pg_temp.h(film, 52) as h) choice
    where h % 30 > 0 and case
        when role = 'director' then draw = 1 or h / 30 % 10 = 0
        when role = 'writer' and draw = 1 then h / 300 % 5 = 0
        when role = 'actor' and draw = 1 then h / 1500 % 10 = 0
        when draw = 3 then h / 15000 % 4 > 0
        when draw = 4 then h / 60000 % 4 = 0
        else draw <= 5 + h / 240000 % 5 end
) link;

alter table content.genre_film_work
    add primary key (id),
    add unique (film_work_id, genre_id),
    add foreign key (film_work_id) references content.film_work (id) on delete cascade,
    add foreign key (genre_id) references content.genre (id) on delete cascade;
alter table content.person_film_work
    add primary key (id),
    add unique (film_work_id, person_id, role),
    add foreign key (film_work_id) references content.film_work (id) on delete cascade,
    add foreign key (person_id) references content.person (id) on delete cascade;
create index on content.genre_film_work (genre_id);
create index on content.person_film_work (person_id);
create index on content.film_work (modified, id);
create index on content.genre (modified, id);
create index on content.person (modified, id);
create index on content.genre_film_work (created, id);
create index on content.person_film_work (created, id);
commit;

-- Statistics for the planner, and the visibility map that index-only scans need.
vacuum (analyze) content.film_work, content.genre, content.person, content.genre_film_work, content.person_film_work;
