"""The lexicon of the syllable puzzles: English words with their syllables and a short hint each, written for this project.

Place in the flow: core/skills/syllables.py draws puzzles from it and solves them with it. Reads and writes no file. Invariant:
every word and every hint occurs once, so a hint names exactly one word. Whoever changes an entry raises the skill's version.
"""

from __future__ import annotations

from dataclasses import dataclass

_TEXT = """
a-pri-cot small orange fruit; a-pril month of fools; ac-cor-di-on squeezed for music; ac-tor plays a role;
ac-tress woman on a stage; ad-ven-ture exciting journey; air-plane flies with wings; air-port planes land there;
al-ge-bra sums with letters; al-mond nut in marzipan; al-pha-bet a to z; am-bu-lance siren and stretcher;
ap-ple grows in orchards; as-ter-oid rock in orbit; as-tro-naut travels in space; at-tic room below the roof;
au-gust eighth month; au-tumn leaves fall; av-o-ca-do green with a big stone; ba-by newborn child;
ba-na-na yellow fruit; back-pack bag on the shoulders; bak-er makes bread; bal-co-ny platform outside;
bal-loon floats on warm air; bam-boo fast growing grass; ban-dage covers a wound; bar-ber cuts hair;
bas-ket-ball thrown through hoops; bat-ter-y stores electricity; bath-room place to wash; bea-ver builds dams;
bed-room place to sleep; bi-cy-cle two wheels; bi-ol-o-gy study of life; birth-day once a year with cake;
bis-cuit dry with tea; blan-ket keeps you warm; bliz-zard heavy snow storm; brace-let worn round the wrist;
break-fast first meal; broc-co-li little green trees; broth-er son of your parents; buf-fa-lo horned grazer;
but-ter spread on bread; but-ter-fly was a caterpillar; but-ton closes a shirt; ca-noe paddled boat;
cab-bage leaves in a ball; cac-tus prickly plant; cal-en-dar shows the months; cam-el humps in the desert;
cam-er-a takes pictures; can-dle wax with a wick; can-yon deep gorge; car-bon coal and diamond;
car-pen-ter works with wood; car-pet covers the floor; car-rot orange root; cas-tle home of a king;
cel-er-y crunchy green stalks; cel-lar room below ground; cen-tu-ry hundred years; chem-is-try study of substances;
cher-ry small red stone fruit; chick-en lays eggs; chil-dren young people; chim-ney smoke leaves by it;
choc-o-late made from cocoa; cin-e-ma shows films; cin-na-mon spice from bark; cir-cle round shape; cit-y large town;
cof-fee black morning drink; com-et has a tail in space; com-pu-ter runs programs; con-cert live music;
cook-ie baked with chocolate chips; cop-per metal of wires; cous-in child of an aunt; cray-on wax for colouring;
crick-et bat and wicket game; croc-o-dile long jaws in rivers; cu-cum-ber pickled when small; cup-board stores plates;
cur-tain hangs at the window; cus-tard yellow dessert sauce; dai-sy white petals in grass; danc-er moves to music;
de-cem-ber last month; de-tec-tive solves crimes; den-tist looks after teeth; des-ert dry and sandy;
di-a-mond hardest gem; dic-tion-ar-y explains words; din-ner evening meal; doc-tor heals the sick;
dol-phin clever swimmer; don-key brays and carries; dou-ble two times; drag-on breathes fire;
draw-er slides from a desk; driv-er steers a bus; drum-mer beats the rhythm; e-clipse sun or moon hidden;
e-lev-en one more than ten; e-ras-er rubs out; el-bow bend of the arm; el-e-phant has a trunk;
el-e-va-tor carries you up; em-er-ald green gem; en-gi-neer designs machines; eve-ning end of the day;
eye-brow hair above sight; fa-ther male parent; fac-to-ry makes goods; farm-er grows crops; feb-ru-ar-y shortest month;
fer-ry carries cars over water; fin-ger five on a hand; fla-min-go pink wader; flow-er blooms in a garden;
foot-ball kicked into goals; for-est many trees; fri-day last work day; gal-ax-y billions of stars;
gar-age home of a car; gar-den grows behind a house; gar-den-er tends plants; gar-lic keeps vampires away;
ge-og-ra-phy study of maps; ge-om-e-try study of shapes; gin-ger spicy root; gla-cier river of ice;
go-ril-la largest ape; gold-en like first medal; gram-mar rules of language; gui-tar six strings;
ham-burg-er meat in a bun; ham-mer drives nails; ham-ster runs in a wheel; har-bour ships rest there;
har-mon-i-ca mouth organ; he-li-um lifts balloons; hel-i-cop-ter flies with a rotor; hex-a-gon six sides;
his-to-ry study of the past; ho-tel rooms for a night; hock-ey played with sticks; hon-ey made by bees;
hos-pi-tal for patients; hun-dred ten times ten; hur-ri-cane violent sea storm; hy-dro-gen lightest gas;
hy-e-na laughing hunter; i-ron metal that rusts; is-land land in the sea; jack-et short coat; jan-u-ar-y first month;
jav-e-lin thrown spear; ju-ly seventh month; ju-pi-ter largest planet; jun-gle hot and wild green;
kan-ga-roo jumps with a pouch; ket-tle boils water; key-board has letter keys; kitch-en room for cooking;
lad-der climb its rungs; law-yer speaks in court; lem-on sour and yellow; lem-on-ade sweet sour drink;
let-ter sent by post; let-tuce green salad leaves; li-brar-i-an lends books; li-brar-y many books;
li-on king of beasts; liz-ard small reptile; lob-ster sea animal with claws; ma-gi-cian pulls out rabbits;
ma-ple leaf of canada; mag-a-zine glossy weekly; mar-a-thon very long run; mar-ble stone for statues;
mar-ket stalls and bargains; mead-ow field of grass; med-i-cine cures illness; mel-o-dy tune; mel-on large sweet fruit;
mer-cu-ry nearest to the sun; mer-maid half fish; mi-cro-scope shows tiny things; mid-night twelve in the dark;
mil-lion thousand thousands; min-ute sixty seconds; mir-ror shows your face; mit-ten glove without fingers;
mo-tor-cy-cle two wheels and an engine; mon-day first work day; mon-key climbs for bananas; morn-ing start of the day;
moth-er female parent; moun-tain very high land; mu-se-um shows old things; mu-si-cian plays in a band;
mus-cle makes you strong; mys-ter-y unsolved story; neck-lace worn round the throat; nee-dle has an eye for thread;
neigh-bour lives next door; news-pa-per printed every day; no-vem-ber eleventh month; num-ber one or two or three;
o-cean largest water; oc-to-ber tenth month; oc-to-pus eight arms; of-fice desk work place;
om-e-lette fried beaten eggs; on-ion makes you cry; or-ange fruit and colour; or-ches-tra many players;
or-chid exotic bloom; ot-ter plays in rivers; ox-y-gen we breathe it; pa-pa-ya orange tropical fruit;
pa-per made from wood; pack-et small parcel; paint-er uses a brush; pal-ace home of a queen; pan-da eats bamboo;
par-a-chute slows a fall; par-rot bird that talks; pas-ta italian noodles; pel-i-can bird with a big bill;
pen-cil writes in grey; pen-guin bird in a dinner suit; pen-in-su-la nearly an island; pen-ta-gon five sides;
pep-per hot spice; phys-ics study of forces; pi-an-o black and white keys; pi-geon city bird; pi-lot flies planes;
pi-rate robs ships; pil-low under your head; piz-za round with cheese; plan-et circles a star; plumb-er mends pipes;
po-em lines that rhyme; po-lice-man wears a badge; po-ta-to makes fries; pock-et holds coins;
pres-i-dent heads a republic; prin-cess daughter of a king; pump-kin carved in autumn; pur-ple red and blue mixed;
quar-ter one of four; ques-tion wants an answer; ra-di-o broadcasts sound; rab-bit hops with long ears;
rad-ish small sharp root; rain-bow seven colours in the sky; rec-tan-gle four right angles;
res-tau-rant waiters serve there; riv-er flows to the sea; ro-bot machine that moves; rob-in bird with a red breast;
rock-et flies to space; rose-bud thorny bloom not open; ru-by red gem; ru-ler measures lines; sail-or works on a ship;
sal-mon fish swimming upstream; san-dal open summer shoe; sand-wich filling between bread; sat-ur-day weekend begins;
sat-urn planet with rings; sci-en-tist does experiments; scis-sors two blades cut; sec-ond after first;
sec-re-tar-y keeps appointments; sen-tence ends with a full stop; sep-tem-ber ninth month; sev-en one more than six;
sham-poo washes hair; shoul-der top of the arm; sil-ver second medal; sing-er uses the voice;
sis-ter daughter of your parents; skel-e-ton all the bones; slip-per soft shoe indoors; sol-dier serves in an army;
spar-row small brown bird; spi-der spins a web; spin-ach dark green leaves; sta-di-um sports crowds;
sta-tion trains stop there; stair-case many steps; stom-ach digests food; su-gar sweet crystals;
sub-ma-rine ship under water; sum-mer hot season; sun-day day of rest; sun-flow-er tall yellow bloom;
sweat-er knitted top; swim-mer moves through water; ta-ble has four legs; tea-pot pours tea; teach-er works in class;
tel-e-phone rings; tel-e-scope shows far stars; tel-e-vi-sion shows channels; tem-per-a-ture measured in degrees;
tem-ple holy building; ten-nis racket game; the-a-tre has a stage; thou-sand ten hundreds; thun-der follows lightning;
ti-ger striped cat; to-ma-to red in salads; tor-na-do twisting wind; tow-el dries you; trac-tor pulls a plough;
tram-way rails in a street; trea-sure buried gold; tri-an-gle three sides; tri-cy-cle three wheels;
trou-sers cover both legs; trum-pet brass horn; tu-lip dutch bulb; tues-day second work day;
tur-key big bird for a feast; tur-tle carries its shell; twen-ty two times ten; u-ni-corn horse with one horn;
u-ni-ver-si-ty professors teach there; u-ni-verse everything there is; um-brel-la for rainy days;
um-pire judges tennis; un-cle brother of a parent; va-nil-la plain ice flavour; val-ley between hills;
vam-pire drinks blood; ve-nus second from the sun; vi-o-let last rainbow colour; vi-o-lin played with a bow;
vil-lage small town; vis-i-tor comes to see you; vol-ca-no spits lava; vol-ley-ball hit over a high net;
wa-ter clear drink; wa-ter-fall river over a cliff; wag-on pulled by horses; wal-let holds money;
wal-nut brain shaped nut; wil-low weeping tree; win-dow glass in a wall; win-ner comes first; win-ter cold season;
wiz-ard casts spells; writ-er makes books; yel-low colour of the sun; ze-ro nothing at all; zeb-ra striped horse;
zip-per closes a jacket
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A word as its syllables, and the hint that names it."""

    syllables: tuple[str, ...]
    hint: str

    @property
    def word(self) -> str:
        """Give the whole word."""
        return "".join(self.syllables)


def _entry(text: str) -> Entry:
    syllables, _, hint = text.strip().partition(" ")
    return Entry(tuple(syllables.split("-")), hint)


ENTRIES: tuple[Entry, ...] = tuple(_entry(text) for text in _TEXT.split(";"))
_BY_HINT = {entry.hint: entry for entry in ENTRIES}


def by_hint(hint: str) -> Entry | None:
    """Give the entry that a hint names, or None."""
    return _BY_HINT.get(hint)
